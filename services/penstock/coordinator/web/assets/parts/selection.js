// What can be done with the chosen images of a job.
import { count, plural } from "../lib/format.js";
import { html } from "../lib/html.js";

const MAX_IMAGES = 1_000;

export function Selection({ images, job, retry, clear }) {
  const query = images.map(({ id }) => `image=${id}`).join("&");
  const done = images.filter(({ results }) => results.length > 0);
  const failed = images.filter(({ error }) => error?.retry);
  const fits = images.length <= MAX_IMAGES;
  return html`
    <div class="row selection" role="group" aria-label="Chosen images">
      <b>${plural(images.length, "image")} chosen</b>
      ${!fits && html`<span class="faint">At most ${count(MAX_IMAGES)} can be downloaded.</span>`}
      ${fits && done.length > 0 && html`<a class="button main" href=${`${job.links.archive}?${query}`} download>Download</a>`}
      ${failed.length > 0 && retry && html`<button type="button" onClick=${() => retry({ images: failed.map(({ id }) => id) })}>Retry (${count(failed.length)})</button>`}
      ${fits && done.length > 0 && ["CSV", "GeoJSON"].map((form) => html`
        <a key=${form} class="button" href=${`${job.links.self}/manifest?format=${form.toLowerCase()}&${query}`} download>${form}</a>`)}
      <button type="button" class="quiet" onClick=${clear}>Clear</button>
    </div>`;
}
