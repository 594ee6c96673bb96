// A job's images in pages, shown by their results. A click compares an image before and after.
import { html, useState } from "../lib/html.js";
import { plural } from "../lib/format.js";
import { gridsOf } from "../lib/mosaic.js";
import { Pager, usePage } from "./paged.js";
import { Result } from "./result.js";
import { Badge, ErrorMessage } from "./small.js";
import { Viewer } from "./viewer.js";

const A_PAGE = 48;
const STATES = ["done", "failed", "running", "queued", "pending", "cancelled"];
const UNFINISHED = ["running", "queued", "pending"];

export function Gallery({ path, job, open, shown }) {
  const [state, setState] = useState("");
  const mayChange = (page) => open && (!page || Boolean(state) || page.images.some((image) => UNFINISHED.includes(image.state)));
  const paged = usePage(`${path}/images?limit=${A_PAGE}${state && `&state=${state}`}`, mayChange);
  const [isBack, setIsBack] = useState(false);
  const images = paged.page?.images || [];
  const grids = gridsOf(job.operations);
  // The viewer has an address of its own, so that Back closes it and a link opens it.
  const address = (image) => `#/jobs/${job.id}${image === null ? "" : `/images/${image}`}`;
  const show = (image) => {
    setIsBack(true);
    location.hash = address(image);
  };
  const close = () => {
    if (!location.hash.startsWith(`${address(null)}/`)) return;
    if (isBack) history.back();
    else location.replace(address(null));
    setIsBack(false);
  };
  return html`
    <section class="card" aria-labelledby="images-title">
      <div class="row"><h2 id="images-title">Images</h2>
        <label for="images-state">Show</label>
        <select id="images-state" onChange=${(event) => setState(event.currentTarget.value)}>
          <option value="">all</option>
          ${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
        </select></div>
      <${ErrorMessage} error=${paged.error} />
      ${paged.page && !images.length && html`<p class="empty">No images.</p>`}
      <ul class="gallery">
        ${images.map((image) => html`<${Tile} key=${image.id} image=${image} grids=${grids} path=${path} show=${show} />`)}
      </ul>
      <${Pager} ...${paged} label="Pages of images" />
      ${shown !== null && html`<${Viewer} path=${path} job=${job} id=${shown} grids=${grids} close=${close}
        go=${(image) => location.replace(address(image))} />`}
    </section>`;
}

function Tile({ image, grids, path, show }) {
  if (!image.results.length) {
    return html`<li class="tile"><div class="blank"><${Badge} state=${image.state} /></div>
      <span class="name">${image.name}</span></li>`;
  }
  const parts = image.results.length;
  const small = image.results.map((result, part) => (
    { ...result, url: `${path}/images/${image.id}/thumbnail?part=${part}`, whole: result.url }));
  return html`<li class="tile">
    <button type="button" class="picture" aria-label=${`Compare ${image.name}`} onClick=${() => show(image.id)}>
      <${Result} results=${small} grids=${grids} name="" />
    </button>
    <span class="name">${image.name}</span>
    ${parts > 1 && html`<span class="faint">${plural(parts, "part")}</span>`}
  </li>`;
}
