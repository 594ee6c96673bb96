// The results of an image, shown as one image.
import { html } from "../lib/html.js";
import { layOut } from "../lib/mosaic.js";

// Maximum number of parts shown: in the viewer, and in a tile.
export const MAX_PARTS = 256;
const MAX_PARTS_IN_TILE = 16;

// Results as one image with thin lines between if they are its tiles, else side by side. Without a name it is
// decoration in a tile.
export function Result({ results, grids, name }) {
  const whole = layOut(results, grids);
  const cells = whole ? whole.cells : results;
  if (cells.length > (name ? MAX_PARTS : MAX_PARTS_IN_TILE)) return Result({ results: results.slice(0, 1), grids: [], name });
  const style = whole
    ? { gridTemplateColumns: tracks(whole.columns), gridTemplateRows: tracks(whole.rows), aspectRatio: ratio(whole) }
    : { gridTemplateColumns: `repeat(${Math.ceil(Math.sqrt(cells.length))}, 1fr)` };
  return html`<span class="mosaic" style=${style}>
    ${cells.map((result, index) => html`
      <${Picture} key=${result.name} result=${result} name=${name && cells.length > 1 ? `${name}, part ${index + 1}` : name} />`)}
  </span>`;
}

const Picture = ({ result, name }) => html`
  <img src=${result.url} alt=${name} width=${result.width} height=${result.height} loading="lazy" decoding="async"
    onError=${({ currentTarget: image }) => showWhole(image, result.whole)} />`;

// Without its thumbnail, show the result itself, once.
function showWhole(image, url) {
  if (!url || image.getAttribute("src") === url) return;
  image.src = url;
}

const tracks = (sizes) => sizes.map((size) => `${size}fr`).join(" ");

const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);

export const ratio = ({ columns, rows }) => sum(columns) / sum(rows);
