// Polling, and paging: one page in memory, the earlier ones as cursors.
import { get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { pause } from "../lib/waiting.js";

const POLL_MS = 2000;

// The response of a GET, read again every two seconds, or `everyMs`, while `mayChange(data)` holds and the page is visible. `settled`
// means that `data` belongs to this URL and not to the previous one. An error of this URL replaces the previous one's data.
export function usePolled(url, mayChange = () => true, everyMs = POLL_MS) {
  const [seen, setSeen] = useState({ url: null, data: null, error: null });
  useEffect(() => {
    const stop = new AbortController();
    const update = (change) => stop.signal.aborted || setSeen((before) => ({ ...before, ...change }));
    const run = async () => {
      for (let data = null; !stop.signal.aborted; await pause(everyMs, stop.signal)) {
        if (data && document.hidden) continue;
        try {
          data = await get(url, stop.signal);
          update({ url, data, error: null });
        } catch (error) {
          update({ error });
          if (error.status === 404) return;
        }
        if (data && !mayChange(data)) return;
      }
    };
    run();
    return () => stop.abort();
  }, [url, mayChange(null)]);
  const settled = seen.url === url;
  return { ...seen, data: settled || !seen.error ? seen.data : null, settled };
}

// The page at the last cursor; `url` must have a query.
export function usePage(url, mayChange) {
  const [cursors, setCursors] = useState([null]);
  useEffect(() => setCursors([null]), [url]);
  const cursor = cursors.at(-1);
  const { data, error, settled } = usePolled(cursor ? `${url}&cursor=${encodeURIComponent(cursor)}` : url, mayChange);
  return { page: data, error, settled, cursors, setCursors };
}

export function Pager({ page, settled, cursors, setCursors, label }) {
  const [hasPrevious, hasNext] = [cursors.length > 1, Boolean(page?.cursor)];
  if (!hasPrevious && !hasNext) return null;
  return html`<nav class="row pager" aria-label=${label}>
    <button type="button" class="quiet" aria-disabled=${!hasPrevious} onClick=${() => hasPrevious && setCursors([null])}>First</button>
    <button type="button" class="quiet" aria-disabled=${!hasPrevious}
            onClick=${() => hasPrevious && setCursors(cursors.slice(0, -1))}>Previous</button>
    <span role="status">Page ${cursors.length}</span>
    <button type="button" class="quiet" aria-disabled=${!hasNext}
            onClick=${() => hasNext && settled && setCursors([...cursors, page.cursor])}>Next</button>
  </nav>`;
}
