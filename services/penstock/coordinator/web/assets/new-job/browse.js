// Browses the folders of the input root and of buckets, to choose an input.
import { get } from "../lib/api.js";
import { bytes } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { useDialog } from "../parts/dialog.js";
import { ErrorMessage } from "../parts/small.js";

const SHAPES = {
  folder: "M2 4h4l1.5 2H14v7H2z",
  image: "M2 3h12v10H2zM4 11l3-4 2 2.5L10.5 8 12 11z",
  file: "M4 2h5l3 3v9H4z",
};
const LIST = /\.(txt|jsonl?|csv)$/i;  // may be an input list

export function Browse({ start, choose, close }) {
  const dialog = useDialog();
  const [path, setPath] = useState(start);
  const [page, setPage] = useState(null);
  const [error, setError] = useState(null);
  const load = (url, before = []) => {
    const stop = new AbortController();
    get(url, stop.signal).then(
      (found) => {
        setPage({ ...found, entries: [...before, ...found.entries] });
        setError(null);
      },
      (failure) => stop.signal.aborted || setError(failure),
    );
    return () => stop.abort();
  };
  useEffect(() => {
    setPage(null);
    return load(`/v1/inputs?path=${encodeURIComponent(path)}`);
  }, [path]);
  const take = (kind, chosen) => {
    choose({ kind, path: chosen });
    close();
  };
  return html`
    <dialog ref=${dialog} class="browse" aria-labelledby="browse-title" onClose=${close}>
      <div class="card-head"><h2 id="browse-title">Browse</h2>
        <button type="button" class="icon" aria-label="Close" onClick=${close}>×</button></div>
      <nav class="crumbs" aria-label="Folders">
        ${crumbsOf(path).map(([label, to], index, all) => html`
          <button type="button" key=${to} class="quiet" aria-current=${index === all.length - 1 ? "page" : null} onClick=${() => setPath(to)}>${label}</button>`)}
      </nav>
      <${ErrorMessage} error=${error} />
      <ul aria-label="Entries" aria-busy=${!page && !error}>
        ${page?.entries.map((entry) => html`
          <li key=${entry.path}>
            <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true" class=${entry.kind}><path d=${SHAPES[entry.kind]} fill-rule="evenodd" /></svg>
            ${entry.kind === "folder"
              ? html`<button type="button" class="name" onClick=${() => setPath(entry.path)}>${entry.name}</button>`
              : html`<span class="name">${entry.name}</span>`}
            <span class="faint numbers">${entry.size === null ? "" : bytes(entry.size)}</span>
            ${entry.kind === "image" && html`<button type="button" class="quiet" aria-label=${`Choose ${entry.name}`} onClick=${() => take("file", entry.path)}>Choose</button>`}
            ${entry.kind === "file" && LIST.test(entry.name) && html`<button type="button" class="quiet" aria-label=${`Use ${entry.name} as an input list`}
              onClick=${() => take("manifest", entry.path)}>Use as list</button>`}
          </li>`)}
      </ul>
      ${page && !page.entries.length && html`<p class="empty">${path ? "Nothing here that a job could use." : "This server has no folder for inputs, and may read no bucket."}</p>`}
      <div class="row">
        ${path && html`<button type="button" class="main" onClick=${() => take("prefix", path)}>Choose this folder</button>`}
        ${page?.next && html`<button type="button" class="quiet" onClick=${() => load(page.next, page.entries)}>Show more</button>`}
      </div>
    </dialog>`;
}

// The folders above a path, and itself: `[["Places", ""], ["delft", "delft/"], …]`.
export function crumbsOf(path) {
  const [, place, rest] = /^(\w+:\/\/[^/]+\/|\.\/|)(.*)$/s.exec(path);
  const parts = rest.split("/").filter(Boolean);
  const base = place === "./" ? "" : place;
  const first = path ? [[place.includes("://") ? place.slice(0, -1) : "Input folder", place || "./"]] : [];
  return [["Places", ""], ...first, ...parts.map((part, index) => [part, `${base}${parts.slice(0, index + 1).join("/")}/`])];
}
