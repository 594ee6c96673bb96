// Pages of a job's images: one in memory, those before it as cursors.
import { get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { pause } from "../lib/events.js";

const LOOK_MS = 2000;

// The page at the end of `cursors`, read again now and then while `lively` says that it may change.
export function usePage(path, query, lively) {
  const [cursors, setCursors] = useState([null]);
  const [page, setPage] = useState(null);
  const [error, setError] = useState(null);
  const cursor = cursors.at(-1);
  useEffect(() => setCursors([null]), [query]);
  const url = `${path}/images?${query}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
  useEffect(() => {
    const stop = new AbortController();
    const run = async () => {
      for (let seen = null; !stop.signal.aborted; await pause(LOOK_MS, stop.signal)) {
        if (seen && document.hidden) continue;
        try {
          seen = await get(url, stop.signal);
          setPage(seen);
          setError(null);
        } catch (failure) {
          if (!stop.signal.aborted) setError(failure);
        }
        if (seen && !lively(seen)) return;
      }
    };
    run();
    return () => stop.abort();
  }, [url, lively(null)]);
  return { page, error, cursors, setCursors };
}

export function Pager({ page, cursors, setCursors, label }) {
  const [back, on] = [cursors.length > 1, Boolean(page?.cursor)];
  if (!back && !on) return null;
  return html`<nav class="row pager" aria-label=${label}>
    <button type="button" class="quiet" aria-disabled=${!back} onClick=${() => back && setCursors([null])}>First</button>
    <button type="button" class="quiet" aria-disabled=${!back}
            onClick=${() => back && setCursors(cursors.slice(0, -1))}>Previous</button>
    <span role="status">Page ${cursors.length}</span>
    <button type="button" class="quiet" aria-disabled=${!on}
            onClick=${() => on && setCursors([...cursors, page.cursor])}>Next</button>
  </nav>`;
}
