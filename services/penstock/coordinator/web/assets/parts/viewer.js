// An image before and after: one over the other with a movable line, or side by side; zoomed, moved, and with regions.
import { get } from "../lib/api.js";
import { readExif } from "../lib/exif.js";
import { bytes, count, operationText, span } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { gridsOf, idAt, layOut, operationsOf, placeOf } from "../lib/mosaic.js";
import { useDialog } from "./dialog.js";
import { MAX_PARTS, Result, ratio } from "./result.js";
import { ErrorMessage } from "./small.js";

const MAX_ZOOM = 16;
const [SWIPE_PX, GRIP_PX] = [60, 36];

// Operations after which a pixel is where it was, in relation to the whole image.
const keepsPlaces = ({ op, fit }) => !["crop", "rotate"].includes(op) && !["cover", "pad", "outside"].includes(fit);

export function Viewer({ path, job, id, close, go }) {
  const operations = operationsOf(job, id);
  const grids = gridsOf(operations);
  const dialog = useDialog();
  const [image, setImage] = useState(null);
  const [error, setError] = useState(null);
  const [beside, setBeside] = useState(!operations.every(keepsPlaces));
  const [marked, setMarked] = useState(true);
  const [zoom, setZoom] = useState(1);
  const [before, setBefore] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    setZoom(1);
    setBefore(null);
    get(`${path}/images/${id}`, stop.signal).then(
      (found) => { setImage(found); setError(null); }, (failure) => stop.signal.aborted || setError(failure));
    return () => stop.abort();
  }, [path, id]);
  const place = placeOf(job, id);
  const [previous, next] = [place > 0, place + 1 < job.images.total];
  const step = (by) => (by < 0 ? previous : next) && go(idAt(job, place + by));
  const keys = (event) => {
    if (event.target.matches("input, summary")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    if (event.key === "+" || event.key === "=") setZoom(Math.min(zoom * 2, MAX_ZOOM));
    if (event.key === "-") setZoom(Math.max(zoom / 2, 1));
    if (event.key === "0") setZoom(1);
  };
  const current = image?.id === id ? image : null;
  const hasRegions = current?.results.some(({ regions }) => regions?.length);
  const zoomable = current?.results.length > 0 && !beside && current.results.length <= MAX_PARTS;
  return html`
    <dialog ref=${dialog} class="viewer" aria-labelledby="viewer-title" onClose=${close} onKeyDown=${keys}>
      <div class="row viewer-head">
        <h2 id="viewer-title" class="name" tabindex="-1" autofocus>${current?.name || "Image"}</h2>
        <span class="faint numbers">${place < job.images.total && `${count(place + 1)} of ${count(job.images.total)}`}</span>
        ${zoomable && html`<${Zoom} zoom=${zoom} set=${setZoom} image=${current} />`}
        ${hasRegions && html`<button type="button" class="quiet" aria-pressed=${marked} onClick=${() => setMarked(!marked)}>Regions</button>`}
        <button type="button" class="quiet" aria-pressed=${beside} onClick=${() => setBeside(!beside)}>Side by side</button>
        <button type="button" class="quiet" aria-disabled=${!previous} onClick=${() => step(-1)}>Previous</button>
        <button type="button" class="quiet" aria-disabled=${!next} onClick=${() => step(1)}>Next</button>
        <button type="button" class="icon" aria-label="Close" onClick=${() => dialog.current.close()}>×</button>
      </div>
      <${ErrorMessage} error=${error} />
      ${current && html`
        <${Comparison} key=${id} image=${current} grids=${grids} beside=${beside} marked=${marked} zoom=${zoom} setZoom=${setZoom}
          onBefore=${setBefore} step=${step} />
        <${Sizes} image=${current} before=${before} grids=${grids} />
        <div class="viewer-facts"><${Exif} key=${`exif ${id}`} image=${current} /><${Facts} image=${current} /></div>`}
    </dialog>`;
}

function Zoom({ zoom, set, image }) {
  const whole = () => {
    const shown = document.querySelector(".slider");
    set(Math.min(MAX_ZOOM, Math.max(1, image.results[0].width / (shown?.clientWidth || 1))));
  };
  return html`<div class="row" role="group" aria-label="Zoom">
    <button type="button" class="icon" aria-label="Smaller" aria-disabled=${zoom <= 1} onClick=${() => set(Math.max(1, zoom / 2))}>−</button>
    <button type="button" class="quiet" aria-pressed=${zoom === 1} onClick=${() => set(1)}>Fit</button>
    <button type="button" class="quiet" onClick=${whole}>1:1</button>
    <button type="button" class="icon" aria-label="Larger" aria-disabled=${zoom >= MAX_ZOOM} onClick=${() => set(Math.min(MAX_ZOOM, zoom * 2))}>+</button>
  </div>`;
}

function Comparison({ image, beside, ...more }) {
  if (image.error) {
    return html`<p class="trouble">${image.error.code}: ${image.error.message}</p>
      ${image.sent && html`<img class="alone" src=${image.sent} alt=${image.name} onError=${({ currentTarget }) => currentTarget.remove()} />`}`;
  }
  if (!image.results.length) return html`<p>This image is ${image.state}.</p>`;
  if (image.results.length > MAX_PARTS) {
    return html`<p>${count(image.results.length)} parts are too many to show at once; each is listed below.</p>`;
  }
  if (!image.sent) return html`<div class="stage"><${Result} results=${image.results} grids=${[]} name=${image.name} /></div>`;
  return beside ? html`<${Beside} image=${image} ...${more} />` : html`<${Slider} image=${image} ...${more} />`;
}

// The input is drawn in the aspect ratio of the results, so that both match.
function Slider({ image, grids, marked, zoom, setZoom, onBefore, step }) {
  const [at, setAt] = useState(50);
  const [place, setPlace] = useState([0, 0]);
  const drag = useRef(null);
  const fingers = useRef(new Map());
  const pinch = useRef(null);
  useEffect(() => zoom === 1 && setPlace([0, 0]), [zoom]);
  const whole = layOut(image.results, grids);
  const first = image.results[0];
  const style = {
    "--at": `${at}%`, "--ratio": whole ? ratio(whole) : first.width / first.height,
    "--zoom": zoom, "--x": `${place[0]}px`, "--y": `${place[1]}px`,
  };
  const wheel = (event) => {
    if (!event.ctrlKey && zoom === 1) return;
    event.preventDefault();
    setZoom(Math.min(MAX_ZOOM, Math.max(1, zoom * 2 ** (-event.deltaY / 300))));
  };
  // A mouse moves the line from anywhere, and a finger if it is close to it: elsewhere it swipes. Two fingers zoom.
  const down = (event) => {
    if (event.button > 0) return;
    const touch = event.pointerType === "touch";
    if (touch) fingers.current.set(event.pointerId, event);
    if (fingers.current.size > 1) {
      pinch.current = { ...spread(fingers.current), zoom, place };
      drag.current = null;
      return;
    }
    const box = event.currentTarget.querySelector(".slider").getBoundingClientRect();
    const isNear = Math.abs(event.clientX - box.left - (at / 100) * box.width) <= GRIP_PX;
    drag.current = { x: event.clientX, y: event.clientY, place, box, swipes: touch && zoom === 1 && !isNear };
    if (!touch) event.currentTarget.setPointerCapture(event.pointerId);
    move(event);
  };
  const move = (event) => {
    if (fingers.current.has(event.pointerId)) fingers.current.set(event.pointerId, event);
    if (pinch.current) {
      if (fingers.current.size > 1) zoomBy(pinch.current, spread(fingers.current));
      return;
    }
    if (!drag.current || drag.current.swipes) return;
    const { x, y, place: from, box } = drag.current;
    if (zoom > 1) setPlace([from[0] + event.clientX - x, from[1] + event.clientY - y]);
    else setAt(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
  };
  const zoomBy = (start, now) => {
    const larger = Math.min(MAX_ZOOM, Math.max(1, (start.zoom * now.apart) / start.apart));
    setZoom(larger);
    if (larger > 1) setPlace([0, 1].map((axis) => (start.place[axis] * larger) / start.zoom + now.middle[axis] - start.middle[axis]));
  };
  const up = (event) => {
    const swiped = drag.current?.swipes && event.type === "pointerup" ? event.clientX - drag.current.x : 0;
    drag.current = null;
    fingers.current.delete(event.pointerId);
    if (!fingers.current.size) pinch.current = null;
    if (Math.abs(swiped) > SWIPE_PX) step(swiped < 0 ? 1 : -1);
  };
  return html`
    <div class=${`stage ${zoom > 1 ? "zoomed" : ""}`} onWheel=${wheel} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up}
      onPointerCancel=${up} onMouseDown=${keepFocus} onDragStart=${(event) => event.preventDefault()}>
      <div class="slider" style=${style}>
        <div class="after"><${Result} results=${image.results} grids=${grids} name=${`${image.name} after`} /></div>
        ${marked && image.results.length === 1 && html`<${Regions} result=${first} />`}
        <img class="before" src=${image.sent} alt=${`${image.name} before`} onLoad=${(event) => onBefore(sizeOf(event))} />
        <span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
        <input type="range" min="0" max="100" value=${at} aria-label="Share of the image that is shown as before"
               aria-valuetext=${`${at} % before`} onInput=${(event) => setAt(Number(event.currentTarget.value))} />
        <span class="line" aria-hidden="true"></span>
      </div>
    </div>`;
}

// A click on an image does not move the focus, so that keys still work.
const keepFocus = (event) => event.preventDefault();

// How far two fingers are apart, and the point between them.
function spread(fingers) {
  const [one, other] = [...fingers.values()];
  return {
    apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1,
    middle: [(one.clientX + other.clientX) / 2, (one.clientY + other.clientY) / 2],
  };
}

function Beside({ image, grids, marked, onBefore, step }) {
  const start = useRef(null);
  const down = (event) => {
    start.current = event.pointerType === "touch" && event.isPrimary ? event.clientX : null;
  };
  const up = (event) => {
    const swiped = start.current === null || !event.isPrimary ? 0 : event.clientX - start.current;
    start.current = null;
    if (Math.abs(swiped) > SWIPE_PX) step(swiped < 0 ? 1 : -1);
  };
  return html`
  <div class="beside" onPointerDown=${down} onPointerUp=${up} onPointerCancel=${() => { start.current = null; }}>
    <figure><img src=${image.sent} alt=${`${image.name} before`} onLoad=${(event) => onBefore(sizeOf(event))} />
      <figcaption>before</figcaption></figure>
    <figure><span class="framed"><${Result} results=${image.results} grids=${grids} name=${`${image.name} after`} />
      ${marked && image.results.length === 1 && html`<${Regions} result=${image.results[0]} />`}</span><figcaption>after</figcaption></figure>
  </div>`;
}

const sizeOf = ({ currentTarget: image }) => ({ width: image.naturalWidth, height: image.naturalHeight });

function Regions({ result: { regions, width, height } }) {
  if (!regions?.length) return null;
  return html`<svg class="regions" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img"
    aria-label=${regions.map(({ label }) => label || "region").join(", ")}>
    ${regions.map(({ box, polygon }, index) => (box
      ? html`<rect key=${index} x=${box[0]} y=${box[1]} width=${box[2]} height=${box[3]} />`
      : html`<polygon key=${index} points=${(polygon || []).map((point) => point.join(",")).join(" ")} />`))}
  </svg>`;
}

// `4032×3024, 3.1 MB → 512×384, 41 kB, −99 %`
function Sizes({ image, before, grids }) {
  if (!image.results.length) return null;
  const whole = layOut(image.results, grids);
  const total = image.results.reduce((sum, { size }) => sum + size, 0);
  const sum = (sizes) => sizes.reduce((all, size) => all + size, 0);
  const first = image.results[0];
  const made = whole ? `${sum(whole.columns)}×${sum(whole.rows)}` : `${first.width}×${first.height}`;
  const parts = image.results.length > 1 ? ` in ${count(image.results.length)} parts` : "";
  const change = image.size ? Math.round((100 * (total - image.size)) / image.size) : 0;
  return html`<p class="sizes">${before && `${before.width}×${before.height}, `}${bytes(image.size)} →${" "}
    <b>${made}${parts}, ${bytes(total)}</b>, ${change > 0 ? "+" : "−"}${Math.abs(change)} %</p>`;
}

// What the input's EXIF says of camera, time and place.
function Exif({ image }) {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    const stop = new AbortController();
    if (image.sent) readExif(image.sent, stop.signal).then(setRows, () => {});
    return () => stop.abort();
  }, [image.sent]);
  if (!rows.length) return null;
  return html`
    <details open><summary>EXIF</summary>
      <dl class="exif">${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="name">${value}</dd></div>`)}</dl>
    </details>`;
}

const Facts = ({ image }) => html`
  <details><summary>Files and times</summary>
    <ul>
      ${image.sent && html`<li><a href=${image.sent}>${image.name}</a>, input, ${bytes(image.size)}</li>`}
      ${image.results.map((result) => html`
        <li key=${result.name}><a href=${result.url}>${result.name}</a>, ${result.width}×${result.height}, ${bytes(result.size)}${warnings(result)}</li>`)}
      ${image.steps.map((step, index) => html`
        <li key=${index}>${operationText({ op: step.step })}: ${span(step.work_seconds)} work, ${span(step.wait_seconds)} waiting</li>`)}
    </ul>
  </details>`;

const warnings = ({ warnings: codes }) => (codes?.length ? `, ${codes.map((code) => code.replace("_", " ")).join(", ")}` : "");
