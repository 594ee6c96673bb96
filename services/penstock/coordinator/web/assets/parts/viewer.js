// An image before and after: one over the other with a movable line, or side by side.
import { bytes, count, operationText, span } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { layOut } from "../lib/mosaic.js";
import { useDialog } from "./dialog.js";
import { MAX_PARTS, Result, ratio } from "./result.js";

export function Viewer({ image, grids, close, previous, next }) {
  const dialog = useDialog();
  const [beside, setBeside] = useState(false);
  return html`
    <dialog ref=${dialog} class="viewer" aria-labelledby="viewer-title" onClose=${close}>
      <div class="row viewer-head">
        <h2 id="viewer-title" class="name">${image.name}</h2>
        <button type="button" class="quiet" aria-pressed=${beside} onClick=${() => setBeside(!beside)}>Side by side</button>
        <button type="button" class="quiet" aria-disabled=${!previous} onClick=${() => previous?.()}>Previous</button>
        <button type="button" class="quiet" aria-disabled=${!next} onClick=${() => next?.()}>Next</button>
        <button type="button" class="icon" aria-label="Close" onClick=${() => dialog.current.close()}>×</button>
      </div>
      <${Comparison} key=${image.id} image=${image} grids=${grids} beside=${beside} />
      <${Facts} image=${image} />
    </dialog>`;
}

function Comparison({ image, grids, beside }) {
  if (image.results.length > MAX_PARTS) {
    return html`<p>${count(image.results.length)} parts are too many to show at once; each is listed below.</p>`;
  }
  return beside ? html`<${Beside} image=${image} grids=${grids} />` : html`<${Slider} image=${image} grids=${grids} />`;
}

// The input is drawn in the aspect ratio of the results, so that both match.
function Slider({ image, grids }) {
  const [at, setAt] = useState(50);
  const whole = layOut(image.results, grids);
  const first = image.results[0];
  const style = { "--at": `${at}%`, "--ratio": whole ? ratio(whole) : first.width / first.height };
  return html`
    <div class="slider" style=${style}>
      <div class="after"><${Result} results=${image.results} grids=${grids} name=${`${image.name} after`} /></div>
      <img class="before" src=${image.sent} alt=${`${image.name} before`} />
      <span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
      <input type="range" min="0" max="100" value=${at} aria-label="Share of the image that is shown as before"
             aria-valuetext=${`${at} % before`} onInput=${(event) => setAt(Number(event.currentTarget.value))} />
      <span class="line" aria-hidden="true"></span>
    </div>`;
}

const Beside = ({ image, grids }) => html`
  <div class="beside">
    <figure><img src=${image.sent} alt=${`${image.name} before`} /><figcaption>before</figcaption></figure>
    <figure><${Result} results=${image.results} grids=${grids} name=${`${image.name} after`} /><figcaption>after</figcaption></figure>
  </div>`;

const Facts = ({ image }) => html`
  <details class="viewer-facts"><summary>Files and times</summary>
    <ul>
      <li><a href=${image.sent}>${image.name}</a>, input, ${bytes(image.size)}</li>
      ${image.results.map((result) => html`
        <li key=${result.name}><a href=${result.url}>${result.name}</a>, ${result.width}×${result.height}, ${bytes(result.size)}${warnings(result)}</li>`)}
      ${image.steps.map((step, index) => html`
        <li key=${index}>${operationText({ op: step.step })}: ${span(step.work_seconds)} work, ${span(step.wait_seconds)} waiting</li>`)}
    </ul>
  </details>`;

const warnings = ({ warnings: codes }) => (codes?.length ? `, ${codes.map((code) => code.replace("_", " ")).join(", ")}` : "");
