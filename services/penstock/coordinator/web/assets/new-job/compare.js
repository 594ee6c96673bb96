// An image before and after, drawn on canvases: with a slider where both have the same ratio, else side by side.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";

const MAX_PX = 1600;
const SAME_RATIO = 0.02;

export function Compare({ before, after, name, onBefore }) {
  const [first, second] = [useBitmap(before), useBitmap(after)];
  const [at, setAt] = useState(50);
  useEffect(() => {
    if (first.bitmap) onBefore({ width: first.bitmap.width, height: first.bitmap.height });
  }, [first.bitmap]);
  const [one, two] = [first.bitmap, second.bitmap];
  if (first.failed || second.failed) {
    const which = first.failed ? "the image's own format" : "the result's format";
    const shown = first.failed ? two : one;
    return html`<p class="help">This browser cannot show ${which}${shown ? `; ${first.failed ? "the result" : "the image"} alone is shown` : ""}.</p>
      ${shown && html`<${Picture} bitmap=${shown} label=${`${name} ${first.failed ? "after" : "before"}`} />`}`;
  }
  if (!one) return html`<div class="stage waiting"></div>`;
  if (!two) return html`<div class="stage"><${Picture} bitmap=${one} label=${`${name} before`} /></div>`;
  if (Math.abs(ratioOf(one) / ratioOf(two) - 1) > SAME_RATIO) {
    return html`<div class="beside">
      <figure><${Picture} bitmap=${one} label=${`${name} before`} /><figcaption>before</figcaption></figure>
      <figure><${Picture} bitmap=${two} label=${`${name} after`} /><figcaption>after</figcaption></figure>
    </div>`;
  }
  return html`<div class="stage">
    <div class="slider" style=${{ "--at": `${at}%`, "--ratio": ratioOf(two) }}>
      <${Picture} bitmap=${two} label=${`${name} after`} kind="after" />
      <${Picture} bitmap=${one} label=${`${name} before`} kind="before" />
      <span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
      <input type="range" min="0" max="100" value=${at} aria-label="Share of the preview that is shown as before"
             aria-valuetext=${`${at} % before`} onInput=${(event) => setAt(Number(event.currentTarget.value))} />
      <span class="line" aria-hidden="true"></span>
    </div>
  </div>`;
}

const ratioOf = ({ width, height }) => width / height;

// The decoded image; the one before stays until it is there.
function useBitmap(blob) {
  const [state, setState] = useState({});
  const shown = useRef(null);
  const set = (next) => {
    if (shown.current !== next.bitmap) shown.current?.close();
    shown.current = next.bitmap || null;
    setState(next);
  };
  useEffect(() => {
    if (!blob) {
      set({});
      return undefined;
    }
    let late = false;
    createImageBitmap(blob).then((bitmap) => (late ? bitmap.close() : set({ bitmap })), () => late || set({ failed: true }));
    return () => {
      late = true;
    };
  }, [blob]);
  useEffect(() => () => shown.current?.close(), []);
  return state;
}

function Picture({ bitmap, label, kind = "alone" }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    if (!bitmap.width) return;  // closed meanwhile
    const scale = Math.min(1, MAX_PX / Math.max(bitmap.width, bitmap.height));
    Object.assign(canvas.current, { width: Math.round(bitmap.width * scale) || 1, height: Math.round(bitmap.height * scale) || 1 });
    const context = canvas.current.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.current.width, canvas.current.height);
  }, [bitmap]);
  return html`<canvas ref=${canvas} class=${kind} role="img" aria-label=${label}></canvas>`;
}
