// What is looked at again and again, and pages of it: one in memory, those before it as cursors.
import { get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { pause } from "../lib/waiting.js";

const LOOK_MS = 2000;

// What a GET answers, asked again every two seconds while `lively` says that it may change and the page is to be seen.
// `settled` says that `data` is what this URL answers, and not yet what the one before it did.
export function usePolled(url, lively = () => true) {
  const [seen, setSeen] = useState({ url: null, data: null, error: null });
  useEffect(() => {
    const stop = new AbortController();
    const tell = (change) => stop.signal.aborted || setSeen((before) => ({ ...before, ...change }));
    const run = async () => {
      for (let data = null; !stop.signal.aborted; await pause(LOOK_MS, stop.signal)) {
        if (data && document.hidden) continue;
        try {
          data = await get(url, stop.signal);
          tell({ url, data, error: null });
        } catch (error) {
          tell({ error });
        }
        if (data && !lively(data)) return;
      }
    };
    run();
    return () => stop.abort();
  }, [url, lively(null)]);
  return { ...seen, settled: seen.url === url };
}

// The page at the end of the cursors; `url` has a query already.
export function usePage(url, lively) {
  const [cursors, setCursors] = useState([null]);
  useEffect(() => setCursors([null]), [url]);
  const cursor = cursors.at(-1);
  const { data, error, settled } = usePolled(cursor ? `${url}&cursor=${encodeURIComponent(cursor)}` : url, lively);
  return { page: data, error, settled, cursors, setCursors };
}

export function Pager({ page, settled, cursors, setCursors, label }) {
  const [back, on] = [cursors.length > 1, Boolean(page?.cursor)];
  if (!back && !on) return null;
  return html`<nav class="row pager" aria-label=${label}>
    <button type="button" class="quiet" aria-disabled=${!back} onClick=${() => back && setCursors([null])}>First</button>
    <button type="button" class="quiet" aria-disabled=${!back}
            onClick=${() => back && setCursors(cursors.slice(0, -1))}>Previous</button>
    <span role="status">Page ${cursors.length}</span>
    <button type="button" class="quiet" aria-disabled=${!on}
            onClick=${() => on && settled && setCursors([...cursors, page.cursor])}>Next</button>
  </nav>`;
}
