// Thumbnails of chosen files, made in the browser: only of visible ones, a few at a time, and the newest are kept.
import { html, useEffect, useRef, useState } from "../lib/html.js";

const HEIGHT_PX = 180;
const AT_ONCE = 2;
const KEPT = 150;
const MAX_BYTES = 64_000_000;  // of a file: the browser decodes all of it

const kept = new Map();  // by file, the oldest first
const waiting = [];
let running = 0;

export function Thumbnail({ file }) {
  const canvas = useRef();
  const [missing, setMissing] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    const draw = (bitmap) => {
      if (stop.signal.aborted || !canvas.current) return;
      Object.assign(canvas.current, { width: bitmap.width, height: bitmap.height });
      canvas.current.getContext("2d").drawImage(bitmap, 0, 0);
    };
    thumbnailOf(file, stop.signal).then(draw, () => stop.signal.aborted || setMissing(true));
    return () => stop.abort();
  }, [file]);
  return html`<span class="thumbnail">${missing ? html`<span class="faint">no preview</span>` : html`<canvas ref=${canvas}></canvas>`}</span>`;
}

function thumbnailOf(file, signal) {
  if (kept.has(file)) return Promise.resolve(keep(file, kept.get(file)));
  return new Promise((resolve, reject) => {
    waiting.push({ file, signal, resolve, reject });
    next();
  });
}

// The newest first: it is what the user looks at.
async function next() {
  if (running === AT_ONCE || !waiting.length) return;
  const { file, signal, resolve, reject } = waiting.pop();
  running += 1;
  try {
    if (signal.aborted || file.size > MAX_BYTES) throw new Error("not made");
    resolve(keep(file, await createImageBitmap(file, { resizeHeight: HEIGHT_PX, resizeQuality: "medium" })));
  } catch (error) {
    reject(error);
  } finally {
    running -= 1;
    next();
  }
}

function keep(file, bitmap) {
  kept.delete(file);
  kept.set(file, bitmap);
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.get(oldest).close();
    kept.delete(oldest);
  }
  return bitmap;
}
