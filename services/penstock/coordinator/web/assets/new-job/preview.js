// A preview of one chosen image: the server runs the operations on it at each change, and the page compares both.
import { request } from "../lib/api.js";
import { bytes, count } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { gridsOf, layOut } from "../lib/mosaic.js";
import { readParts } from "../lib/multipart.js";
import { pause } from "../lib/waiting.js";
import { Compare } from "./compare.js";

const TYPING_MS = 350;
const MAX_BYTES = 32_000_000;
const [MAX_PIECES, MAX_PX] = [256, 1600];
const ALL = -1;

export function Preview({ item, sidecar, document, maxBytes }) {
  const [seen, setSeen] = useState({});
  const [part, setPart] = useState(ALL);
  const [busy, setBusy] = useState(false);
  const [size, setSize] = useState({});
  const query = queryOf(document);
  const most = Math.min(MAX_BYTES, maxBytes);
  const tooLarge = item && item.file.size > most;
  useEffect(() => {
    if (!item || tooLarge) return undefined;
    const stop = new AbortController();
    const show = (made) => {
      if (stop.signal.aborted) return;
      setSeen({ item, ...made });
      setBusy(false);
    };
    setBusy(true);
    pause(TYPING_MS, stop.signal)
      .then(() => render(query, item, sidecar, stop.signal))
      .then((results) => show({ results }), (error) => show({ error }));
    return () => stop.abort();
  }, [item, sidecar, query, tooLarge]);
  useEffect(() => setPart(ALL), [seen.results?.length]);
  const whole = useWhole(seen.results, document.operations);

  if (!item) return html`<p class="empty">Choose images, and one of them is shown here, before and after.</p>`;
  if (tooLarge) {
    return html`<p class="empty" role="status">${item.name} has ${bytes(item.file.size)}, too much for a preview, which takes up to
      ${" "}${bytes(most)}. ${item.file.size > maxBytes ? "The server takes no larger files." : "The job processes it all the same."}</p>`;
  }
  const current = seen.item === item ? seen : {};
  const joined = seen.item === item && part === ALL ? whole : null;
  const result = joined ?? current.results?.[Math.max(0, Math.min(part, current.results.length - 1))];
  return html`
    <div class=${`preview ${busy ? "busy" : ""}`} aria-busy=${busy}>
      ${!current.error && html`<${Compare} before=${item.file} after=${result?.blob} name=${item.name}
        onBefore=${(before) => setSize({ item, before })} />`}
      <div role="alert">${current.error && !busy && html`<p class="trouble">${current.error.message}</p>`}</div>
      ${current.results?.length > 1 && html`<${Parts} results=${current.results} part=${part} joins=${Boolean(whole)} onChange=${setPart} />`}
      <p class="sizes" role="status">${result && !current.error
        ? sizes(item.file, size.item === item ? size.before : null, current.results, result)
        : busy && "Making a preview…"}</p>
      ${result?.warnings && html`<p class="help">Warnings: ${result.warnings.replaceAll("_", " ")}</p>`}
    </div>`;
}

const Parts = ({ results, part, joins, onChange }) => html`
  <div class="row parts">
    <label for="preview-part">Part</label>
    <select id="preview-part" onChange=${(event) => onChange(Number(event.currentTarget.value))}>
      ${joins && html`<option value=${ALL} selected=${part === ALL}>all ${results.length}</option>`}
      ${results.map(({ width, height }, index) => html`
        <option key=${index} value=${index} selected=${index === part}>${index + 1} of ${results.length}, ${width}×${height}</option>`)}
    </select>
  </div>`;

// The parts of a split or tiled image as one, `{ blob, width, height }` with a canvas as its blob; null until it is drawn,
// and for parts that do not make one image.
function useWhole(results, operations) {
  const [drawn, setDrawn] = useState({});
  useEffect(() => {
    const parts = results?.length > 1 && results.length <= MAX_PIECES ? layOut(results, gridsOf(operations)) : null;
    if (!parts) return undefined;
    let late = false;
    drawWhole(parts).then((whole) => late || setDrawn({ results, whole }), () => {});
    return () => {
      late = true;
    };
  }, [results]);
  return drawn.results === results ? drawn.whole ?? null : null;
}

async function drawWhole({ cells, columns, rows }) {
  const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);
  const [width, height] = [sum(columns), sum(rows)];
  const scale = Math.min(1, MAX_PX / Math.max(width, height));
  const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(width * scale), height: Math.round(height * scale) });
  const context = canvas.getContext("2d");
  await Promise.all(cells.map(async ({ blob }, index) => {
    const [column, row] = [index % columns.length, Math.floor(index / columns.length)];
    const [x, y] = [sum(columns.slice(0, column)), sum(rows.slice(0, row))].map((at) => at * scale);
    const bitmap = await createImageBitmap(blob);
    context.drawImage(bitmap, x, y, columns[column] * scale, rows[row] * scale);
    bitmap.close();
  }));
  return { blob: canvas, width, height };
}

// `1024×768, 237 kB → 512×384, 41 kB, −83 %`
function sizes(file, before, results, { width, height }) {
  const total = results.reduce((sum, { size }) => sum + size, 0);
  const change = Math.round((100 * (total - file.size)) / (file.size || 1));
  const several = results.length > 1 ? ` in ${count(results.length)} parts` : "";
  return html`${before && `${before.width}×${before.height}, `}${bytes(file.size)} →${" "}
    <b>${width}×${height}, ${bytes(total)}${several}</b>, ${change > 0 ? "+" : "−"}${Math.abs(change)} %`;
}

// The job's operations and its options for results as a query of /v1/process.
export function queryOf({ operations, inputs: _, name: _name, names: _names, labels: _labels, results: _results, webhook: _webhook, priority: _priority, deadline: _deadline, ...options }) {
  const query = new URLSearchParams();
  for (const { op, ...fields } of operations.filter((each) => each.op !== "gather")) query.append("op", `${op}=${JSON.stringify(fields)}`);
  for (const [name, value] of Object.entries(options)) query.append(name, String(value));
  return query.toString();
}

async function render(query, { name, file }, sidecar, signal) {
  signal.throwIfAborted();
  const answer = await request("POST", `/v1/process?${query}`, { ...bodyOf(name, file, sidecar), signal });
  return readParts(new Uint8Array(await answer.arrayBuffer())).map(({ headers, body }) => ({
    blob: new Blob([body], { type: headers["content-type"] }),
    size: body.length,
    width: Number(headers["penstock-width"]),
    height: Number(headers["penstock-height"]),
    warnings: headers["penstock-warnings"],
  }));
}

// The image alone, or a form with its regions.
function bodyOf(name, file, sidecar) {
  const headers = { Accept: "multipart/mixed" };
  if (!sidecar) return { body: file, headers: { ...headers, "Content-Type": "application/octet-stream" } };
  const form = new FormData();
  form.append("files", file, name);
  form.append("files", sidecar.file, sidecar.name);
  return { body: form, headers };
}
