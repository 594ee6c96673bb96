// What an image became, as a picture.
import { html } from "../lib/html.js";
import { layOut } from "../lib/mosaic.js";

const MOST_SHOWN = 16;

// Results as one picture where they are the quadrants of one, with thin lines between; else side by side.
export function Result({ results, splits, name }) {
  const whole = layOut(results, splits);
  const cells = (whole ? whole.cells : results).slice(0, whole ? results.length : MOST_SHOWN);
  if (cells.length > MOST_SHOWN * 4 || (!name && cells.length > MOST_SHOWN)) {
    return html`<${Picture} result=${results[0]} name=${name} />`;
  }
  const style = whole
    ? { gridTemplateColumns: tracks(whole.columns), gridTemplateRows: tracks(whole.rows), aspectRatio: ratio(whole) }
    : { gridTemplateColumns: `repeat(${Math.ceil(Math.sqrt(cells.length))}, 1fr)` };
  return html`<span class="mosaic" style=${style}>
    ${cells.map((result, index) => html`
      <${Picture} key=${result.name} result=${result} name=${name && cells.length > 1 ? `${name}, part ${index + 1}` : name} />`)}
  </span>`;
}

const Picture = ({ result, name }) => html`
  <img src=${result.url} alt=${name} width=${result.width} height=${result.height} loading="lazy" decoding="async" />`;

const tracks = (sizes) => sizes.map((size) => `${size}fr`).join(" ");

const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);

export const ratio = ({ columns, rows }) => sum(columns) / sum(rows);
