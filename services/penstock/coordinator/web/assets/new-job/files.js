// Files from this computer: dropped or picked, shown with thumbnails, and paired with their sidecars.
import { droppedFiles, join, pairSidecars, pickedFiles, sortOut } from "../lib/files.js";
import { bytes, count, plural } from "../lib/format.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { acceptOf } from "../lib/types.js";
import { WindowList } from "../parts/window-list.js";
import { Thumbnail } from "./thumbnails.js";

const ROW_PX = 148;
const TILE_PX = 132;
const SHOWN = 5;
const LINE_PX = 30;

export function Files({ files, types, shown, onShow, onChange }) {
  const [over, setOver] = useState(false);
  const [refused, setRefused] = useState([]);
  const [picker, folderPicker] = [useRef(), useRef()];
  const { images, alone } = useMemo(() => pairSidecars(files), [files]);
  const add = async (added) => {
    const sorted = await sortOut(added, types);
    setRefused(sorted.refused);
    onChange((before) => join(before, sorted.kept));  // reading a folder takes a while; more files may be added meanwhile
  };
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    await add(await droppedFiles(event.dataTransfer));
  };
  const hover = (event) => {
    event.preventDefault();
    setOver(true);
  };
  const picked = (event) => {
    add(pickedFiles(event.currentTarget.files));
    event.currentTarget.value = "";
  };
  const clear = () => {
    setRefused([]);
    onChange([]);
  };
  const remove = ({ item, sidecar }) => onChange((before) => before.filter((each) => each !== item && each !== sidecar));
  return html`
    <div class=${`drop ${over ? "over" : ""} ${files.length ? "small" : ""}`} onDragOver=${hover} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <p class="lead">${files.length ? "Drop more here" : "Drop images or a folder here"}</p>
      <div class="row">
        <button type="button" class=${files.length ? "quiet" : ""} onClick=${() => picker.current.click()}>Choose files</button>
        <button type="button" class="quiet" onClick=${() => folderPicker.current.click()}>Choose a folder</button>
      </div>
      <input ref=${picker} class="hidden" type="file" multiple accept=${acceptOf(types.formats)} tabindex="-1"
             aria-label="Images" onChange=${picked} />
      <input ref=${folderPicker} class="hidden" type="file" webkitdirectory tabindex="-1" aria-label="A folder"
             onChange=${picked} />
    </div>
    ${refused.length > 0 && html`<${Notice} close=${() => setRefused([])}><${Listed} files=${refused} what="not sent" verb="is" /><//>`}
    ${alone.length > 0 && html`<div class="help"><${Listed} what="without an image" verb="has"
      files=${alone.map(({ name }) => ({ path: name, type: "the regions of no chosen image" }))} /></div>`}
    <div class=${`row totals ${files.length ? "filled" : ""}`}>
      <p role="status">${images.length ? total(files, images) : ""}</p>
      ${files.length > 0 && html`<button type="button" class="quiet" onClick=${clear}>Remove all</button>`}
    </div>
    ${images.length > 0 && html`<${Tiles} images=${images} shown=${shown} onShow=${onShow} remove=${remove} />`}`;
}

const Notice = ({ close, children }) => html`
  <div class="notice row"><div role="status">${children}</div>
    <button type="button" class="icon" aria-label="Dismiss" onClick=${close}>×</button></div>`;

function Tiles({ images, shown, onShow, remove }) {
  const [columns, setColumns] = useState(4);
  const box = useRef();
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setColumns(Math.max(2, Math.floor(contentRect.width / TILE_PX))));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return html`<div ref=${box} class="chosen">
    <${WindowList} items=${images} rowPx=${ROW_PX} most=${2.6} columns=${columns} label="Chosen files" row=${(pair) => html`
      <button type="button" class="tile-button" aria-pressed=${pair.item === shown}
              title=${pair.item.name} onClick=${() => onShow(pair.item)}>
        <span class="hidden">Preview </span><${Thumbnail} file=${pair.item.file} />
        <span class="name">${pair.item.name}</span>
        <span class="faint numbers">${bytes(pair.item.file.size)}${pair.sidecar ? ", regions" : ""}</span>
      </button>
      <button type="button" class="icon remove" aria-label=${`Remove ${pair.item.name}`} title="Remove"
              onClick=${() => remove(pair)}>×</button>`} />
  </div>`;
}

function total(files, images) {
  const size = files.reduce((sum, { file }) => sum + file.size, 0);
  const paired = images.filter(({ sidecar }) => sidecar).length;
  return `${plural(images.length, "image")}, ${bytes(size)}${paired ? `, ${paired} with regions` : ""}`;
}

// What some files are, `2 files not sent: a.gif is GIF, b.txt is no image of a known type`, and the rest of many on request.
function Listed({ files, what, verb }) {
  const [open, setOpen] = useState(false);
  const texts = files.map(({ path, type }) => `${path} ${verb} ${type}`);
  const rest = texts.slice(SHOWN);
  return html`
    <p>${plural(files.length, "file")} ${what}: ${texts.slice(0, SHOWN).join(", ")}</p>
    ${rest.length > 0 && html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>and ${count(rest.length)} more</summary>
      ${open && html`<${WindowList} items=${rest} rowPx=${LINE_PX} label=${`More files ${what}`} row=${(text) => html`
        <span class="name" title=${text}>${text}</span>`} />`}
    </details>`}`;
}
