// Where a job's images were taken: dots on a graticule, or on the tiles of a map that the server is set to use.
import { get } from "../lib/api.js";
import { count, plural } from "../lib/format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";

const [MAX_HEIGHT, MIN_HEIGHT, MARGIN] = [380, 160, 28];
const STEPS = [45, 30, 15, 10, 5, 2, 1, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
const MIN_DEGREES = 0.0004;
const [TILE_PX, MAX_LEVEL, MAX_LATITUDE] = [256, 18, 85.05];

// `version` changes when there may be more images.
export function Places({ path, version, show }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    get(`${path}/places`, stop.signal).then(setFound, () => {});
    return () => stop.abort();
  }, [path, version]);
  if (!found?.places.length) return null;
  return html`
    <section class="card" aria-labelledby="map-title">
      <div class="row"><h2 id="map-title">Map</h2>
        <span class="faint">${plural(found.images, "image")} with a place${found.places.length < found.images ? `, at ${plural(found.places.length, "place")}` : ""}</span></div>
      <${Dots} places=${found.places} tiles=${found.tiles} show=${show} />
    </section>`;
}

function Dots({ places, tiles, show }) {
  const [width, setWidth] = useState(0);
  const frame = useRef();
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(frame.current.clientWidth));
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, []);
  if (!width) return html`<div ref=${frame} class="map"></div>`;
  const projected = tiles ? projectOnTiles(places, width) : project(places, width);
  const { west, south, east, north, x, y, height } = projected;
  const most = Math.max(...places.map(({ images }) => images));
  const click = (event) => {
    const image = event.target.dataset.image;
    if (image !== undefined) show(Number(image));
  };
  return html`
    <div ref=${frame} class="map">
      ${tiles && tilesOf(projected, width).map(({ key, left, top, size, ...at }) => html`
        <img key=${key} src=${tileUrl(tiles.url, at)} alt="" decoding="async" referrerpolicy="origin"
          style=${{ left: `${left}px`, top: `${top}px`, width: `${size}px`, height: `${size}px` }} />`)}
      <svg width=${width} height=${height} onClick=${click} role="img"
      aria-label=${`${plural(places.length, "place")} between ${degrees(south, "N", "S")} and ${degrees(north, "N", "S")}, ${degrees(west, "E", "W")} and ${degrees(east, "E", "W")}`}>
      ${!tiles && lines(west, east).map((at) => html`<g key=${`x${at}`} class="graticule"><line x1=${x(at)} x2=${x(at)} y1="0" y2=${height} />
        <text x=${x(at) + 4} y=${height - 6}>${degrees(at, "E", "W")}</text></g>`)}
      ${!tiles && lines(south, north).map((at) => html`<g key=${`y${at}`} class="graticule"><line x1="0" x2=${width} y1=${y(at)} y2=${y(at)} />
        <text x="4" y=${y(at) - 4}>${degrees(at, "N", "S")}</text></g>`)}
      ${places.map(({ image, longitude, latitude, images }) => html`
        <circle key=${image} data-image=${image} cx=${x(longitude).toFixed(1)} cy=${y(latitude).toFixed(1)}
          r=${(4 + 6 * Math.sqrt((images - 1) / Math.max(1, most - 1))).toFixed(1)}><title>${images > 1 ? `${count(images)} images` : `image ${image}`}</title></circle>`)}
    </svg>
    ${tiles?.credit && html`<small class="credit">${tiles.credit}</small>`}</div>`;
}

// The extent, and functions from degrees to pixels: a degree of longitude is shorter the further from the equator.
export function project(places, width) {
  const span = (values) => {
    const [low, high] = extentOf(values);
    const added = Math.max((high - low) * 0.06, (MIN_DEGREES - (high - low)) / 2);
    return [low - added, high + added];
  };
  const [west, east] = span(places.map(({ longitude }) => longitude));
  const [south, north] = span(places.map(({ latitude }) => latitude));
  const squeeze = Math.max(0.1, Math.cos(((south + north) / 2) * (Math.PI / 180)));
  const scale = Math.min((width - 2 * MARGIN) / ((east - west) * squeeze), (MAX_HEIGHT - 2 * MARGIN) / (north - south));
  const height = Math.max(MIN_HEIGHT, Math.round((north - south) * scale) + 2 * MARGIN);
  const x = (longitude) => width / 2 + (longitude - (west + east) / 2) * squeeze * scale;
  const y = (latitude) => height / 2 - (latitude - (south + north) / 2) * scale;
  const [across, down] = [width / (squeeze * scale), height / scale];
  return {
    west: (west + east - across) / 2, east: (west + east + across) / 2,
    south: (south + north - down) / 2, north: (south + north + down) / 2, x, y, height,
  };
}

const extentOf = (values) => values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);

// The same on a map of tiles, which has Web Mercator's projection: the world is a square, `scale` pixels wide.
export function projectOnTiles(places, width) {
  const across = (longitude) => longitude / 360 + 0.5;
  const down = (latitude) => {
    const angle = Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, latitude)) * (Math.PI / 180);
    return 0.5 - Math.log(Math.tan(Math.PI / 4 + angle / 2)) / (2 * Math.PI);
  };
  const [west, east] = extentOf(places.map(({ longitude }) => across(longitude)));
  const [top, bottom] = extentOf(places.map(({ latitude }) => down(latitude)));
  const widest = Math.min((width - 2 * MARGIN) / (east - west), (MAX_HEIGHT - 2 * MARGIN) / (bottom - top));
  const scale = Math.min(widest, TILE_PX * 2 ** MAX_LEVEL);
  const height = Math.max(MIN_HEIGHT, Math.round((bottom - top) * scale) + 2 * MARGIN);
  const [left, above] = [(west + east) / 2 - width / 2 / scale, (top + bottom) / 2 - height / 2 / scale];
  const [longitudes, latitudes] = [places.map(({ longitude }) => longitude), places.map(({ latitude }) => latitude)];
  return {
    west: Math.min(...longitudes), east: Math.max(...longitudes), south: Math.min(...latitudes), north: Math.max(...latitudes), height,
    x: (longitude) => (across(longitude) - left) * scale, y: (latitude) => (down(latitude) - above) * scale, left, above, scale,
  };
}

// The tiles that cover a map: their level, column and row, and where they are in it.
export function tilesOf({ left, above, scale, height }, width) {
  const level = Math.max(0, Math.min(MAX_LEVEL, Math.round(Math.log2(scale / TILE_PX))));
  const [count, size] = [2 ** level, scale / 2 ** level];
  const found = [];
  for (let row = Math.max(0, Math.floor(above * count)); row < count && (row / count - above) * scale < height; row += 1) {
    for (let column = Math.floor(left * count); (column / count - left) * scale < width; column += 1) {
      const place = { left: (column / count - left) * scale, top: (row / count - above) * scale, size };
      found.push({ key: `${level}/${column}/${row}`, z: level, x: ((column % count) + count) % count, y: row, ...place });
    }
  }
  return found;
}

const tileUrl = (url, at) => url.replace(/\{([zxy])\}/g, (_, name) => at[name]);

// Round degrees between two others, about four.
export function lines(low, high) {
  const step = STEPS.find((each) => (high - low) / each >= 4) ?? STEPS.at(-1);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, index) => Number(((first + index) * step).toFixed(6)));
}

const degrees = (value, above, below) => `${Number(Math.abs(value).toFixed(4))}° ${value < 0 ? below : above}`;
