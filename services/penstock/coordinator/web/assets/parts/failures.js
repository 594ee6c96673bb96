// Images that failed, with advice. Without `retry`, the job cannot be retried.
import { adviceFor } from "../lib/advice.js";
import { plural } from "../lib/format.js";
import { html } from "../lib/html.js";
import { Pager, usePage } from "./paged.js";
import { ErrorMessage } from "./small.js";

const A_PAGE = 20;

export function Failures({ path, total, open, retry }) {
  const paged = usePage(`${path}/images?state=failed&limit=${A_PAGE}`, () => open);
  return html`
    <section class="card failures" aria-labelledby="failures-title">
      <h2 id="failures-title">${plural(total, "image")} failed</h2>
      <${ErrorMessage} error=${paged.error} />
      <ul>
        ${(paged.page?.images || []).map((image) => html`
          <li key=${image.id}>
            <p><a class="name" href=${image.sent}>${image.name}</a> <code>${image.error.code}</code> in ${image.error.step}</p>
            <p>${image.error.message}</p>
            <p class="advice">${adviceFor(image.error)}</p>
            ${image.error.retry && retry && html`
              <button type="button" class="quiet" onClick=${() => retry([image.id])}
                      aria-label=${`Retry ${image.name}`}>Retry</button>`}
          </li>`)}
      </ul>
      <${Pager} ...${paged} label="Pages of failed images" />
    </section>`;
}
