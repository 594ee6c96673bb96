// A job's images in pages, shown by thumbnails of their results, each in its own ratio. A click compares an image before
// and after; several can be chosen.
import { html, useState } from "../lib/html.js";
import { plural } from "../lib/format.js";
import { gridsOf, layOut, operationsOf } from "../lib/mosaic.js";
import { Pager, usePage } from "./paged.js";
import { Result, ratio } from "./result.js";
import { Selection } from "./selection.js";
import { Badge, ErrorMessage } from "./small.js";

const A_PAGE = 48;
const STATES = ["done", "failed", "running", "queued", "pending", "cancelled"];
const UNFINISHED = ["running", "queued", "pending"];
const [BLANK_RATIO, MIN_RATIO, MAX_RATIO] = [4 / 3, 0.5, 3];

export function Gallery({ path, job, open, retry, show }) {
  const [state, setState] = useState("");
  const mayChange = (page) => open && (!page || Boolean(state) || page.images.some((image) => UNFINISHED.includes(image.state)));
  const paged = usePage(`${path}/images?limit=${A_PAGE}${state && `&state=${state}`}`, mayChange);
  const [chosen, setChosen] = useState(() => new Map());
  const images = paged.page?.images || [];
  const choose = (some, on) => setChosen((before) => {
    const after = new Map(before);
    some.forEach((image) => (on ? after.set(image.id, image) : after.delete(image.id)));
    return after;
  });
  return html`
    <section class="card" aria-labelledby="images-title">
      <div class="row gallery-head"><h2 id="images-title">Images</h2>
        <label for="images-state">Show</label>
        <select id="images-state" onChange=${(event) => setState(event.currentTarget.value)}>
          <option value="">all</option>
          ${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
        </select>
        ${images.length > 1 && html`<button type="button" class="quiet" onClick=${() => choose(images, true)}>Choose all shown</button>`}</div>
      <${ErrorMessage} error=${paged.error} />
      ${paged.page && !images.length && html`<p class="empty">No images.</p>`}
      <ul class=${`gallery ${chosen.size ? "choosing" : ""}`}>
        ${images.map((image) => html`<${Tile} key=${image.id} image=${image} grids=${gridsOf(operationsOf(job, image.id))} path=${path} show=${show}
          chosen=${chosen.has(image.id)} choose=${(on) => choose([image], on)} />`)}
      </ul>
      <${Pager} ...${paged} label="Pages of images" />
      ${chosen.size > 0 && html`<${Selection} images=${[...chosen.values()]} job=${job} retry=${retry} clear=${() => setChosen(new Map())} />`}
    </section>`;
}

function Tile({ image, grids, path, show, chosen, choose }) {
  const parts = image.results.length;
  const whole = layOut(image.results, grids);
  const first = image.results[0];
  const shape = whole ? ratio(whole) : first ? first.width / first.height : BLANK_RATIO;
  const style = { "--ratio": Math.min(MAX_RATIO, Math.max(MIN_RATIO, shape)).toFixed(4) };
  const small = image.results.map((result, part) => (
    { ...result, url: `${path}/images/${image.id}/thumbnail?part=${part}`, whole: result.url }));
  return html`<li class=${`tile ${chosen ? "chosen" : ""}`} style=${style}>
    ${parts ? html`
      <button type="button" class="picture" aria-label=${`Compare ${image.name}`} onClick=${() => show(image.id)}>
        <${Result} results=${small} grids=${grids} name="" />
      </button>` : html`
      <button type="button" class="picture blank" aria-label=${`Show ${image.name}, ${image.state}`} onClick=${() => show(image.id)}>
        <${Badge} state=${image.state} /></button>`}
    <input type="checkbox" aria-label=${`Choose ${image.name}`} checked=${chosen} onChange=${(event) => choose(event.currentTarget.checked)} />
    <span class="name" title=${image.name}>${image.name}${parts > 1 && html` <span class="faint">${plural(parts, "part")}</span>`}</span>
  </li>`;
}
