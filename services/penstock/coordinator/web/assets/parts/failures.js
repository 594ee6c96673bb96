// Images that failed, grouped by error code, with what helps. Without `retry`, the job cannot be retried.
import { count, plural } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Pager, usePage } from "./paged.js";
import { ErrorMessage } from "./small.js";

const A_PAGE = 20;

export function Failures({ path, job, open, retry }) {
  return html`
    <section class="card failures" aria-labelledby="failures-title">
      <h2 id="failures-title">${plural(job.images.failed, "image")} failed</h2>
      ${job.failures.map((group, index) => html`
        <${Group} key=${group.code} group=${group} path=${path} open=${open} retry=${retry} first=${index === 0}
          alone=${job.failures.length === 1} />`)}
    </section>`;
}

function Group({ group, path, open, retry, first, alone }) {
  const [shown, setShown] = useState(first);
  return html`
    <details open=${shown} onToggle=${(event) => setShown(event.currentTarget.open)}>
      <summary><b>${count(group.images)}</b> × <code>${group.code}</code> <span class="help">${group.help}</span></summary>
      ${!alone && group.retryable > 0 && retry && html`
        <button type="button" class="quiet" onClick=${() => retry({ code: group.code })}>Retry ${plural(group.retryable, "image")} with ${group.code}</button>`}
      ${shown && html`<${Images} code=${group.code} path=${path} open=${open} retry=${retry} />`}
    </details>`;
}

function Images({ code, path, open, retry }) {
  const paged = usePage(`${path}/images?code=${encodeURIComponent(code)}&limit=${A_PAGE}`, () => open);
  return html`
    <${ErrorMessage} error=${paged.error} />
    <ul>
      ${(paged.page?.images || []).map((image) => html`
        <li key=${image.id}>
          <p><a class="name" href=${image.sent || null}>${image.name}</a> <span class="faint">in ${image.error.step}</span>
            ${image.error.retry && retry && html`
              <button type="button" class="quiet small" onClick=${() => retry({ images: [image.id] })}
                      aria-label=${`Retry ${image.name}`}>Retry</button>`}</p>
          <p class="faint">${image.error.message}</p>
        </li>`)}
    </ul>
    <${Pager} ...${paged} label=${`Pages of failures: ${code}`} />`;
}
