// A list of any length: only the visible rows are in the page. All rows have the same height, and `columns` entries.
import { html, useEffect, useRef, useState } from "../lib/html.js";

const BEYOND = 6;

export function WindowList({ items, rowPx, most = 10, columns = 1, label, row, onNearEnd }) {
  const [top, setTop] = useState(0);
  const [heightPx, setHeightPx] = useState(most * rowPx);
  const box = useRef();
  const beyond = columns === 1 ? BEYOND : 1;
  const first = Math.max(0, Math.floor(top / rowPx) - beyond) * columns;
  const last = Math.min(items.length, (Math.ceil((top + heightPx) / rowPx) + beyond) * columns);
  useEffect(() => setHeightPx(box.current.clientHeight), [items.length]);
  useEffect(() => {
    if (last >= items.length) onNearEnd?.();
  }, [last, items.length]);
  const shown = items.slice(first, last).map((item, index) => html`
    <div role="listitem" class="window-row" key=${first + index} aria-setsize=${items.length}
         aria-posinset=${first + index + 1} style=${placeOf(first + index, columns, rowPx)}>
      ${row(item, first + index)}
    </div>`);
  return html`
    <div class="window" ref=${box} tabindex="0" role="region" aria-label=${label}
         style=${{ maxHeight: `${most * rowPx}px` }} onScroll=${(event) => setTop(event.currentTarget.scrollTop)}>
      <div role="list" class="window-all" style=${{ height: `${Math.ceil(items.length / columns) * rowPx}px` }}>${shown}</div>
    </div>`;
}

const placeOf = (index, columns, rowPx) => ({
  top: `${Math.floor(index / columns) * rowPx}px`,
  height: `${rowPx}px`,
  ...(columns > 1 && { left: `${((index % columns) * 100) / columns}%`, right: "auto", width: `${100 / columns}%` }),
});
