// A job's images: files that are dropped or picked, or inputs that the server can read.
import { html, useRef, useState } from "../lib/html.js";
import { droppedFiles, join, pickedFiles, sortOut } from "../lib/files.js";
import { bytes, plural } from "../lib/format.js";
import { acceptOf } from "../lib/types.js";
import { ErrorMessage } from "./small.js";
import { WindowList } from "./window-list.js";

const ROW_PX = 36;

export function Files({ files, types, onChange }) {
  const [over, setOver] = useState(false);
  const [error, setError] = useState(null);
  const [passedOver, setPassedOver] = useState([]);
  const [picker, folderPicker] = [useRef(), useRef()];
  const add = async (added) => {
    const sorted = await sortOut(added, types);
    setPassedOver(sorted.passedOver);
    onChange((before) => join(before, sorted.kept));  // reading a folder takes a while; more files may be added meanwhile
  };
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    const { files: dropped, unread } = await droppedFiles(event.dataTransfer);
    await add(dropped);
    setError(unread.length ? new Error(`${plural(unread.length, "file")} cannot be read; the first is ${unread[0]}`) : null);
  };
  const hover = (event) => {
    event.preventDefault();
    setOver(true);
  };
  const picked = (event) => {
    add(pickedFiles(event.currentTarget.files));
    event.currentTarget.value = "";
  };
  return html`
    <div class=${`drop ${over ? "over" : ""}`} onDragOver=${hover} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <p class="lead">Drop images or a folder here</p>
      <div class="row">
        <button type="button" class="quiet" onClick=${() => picker.current.click()}>Choose files</button>
        <button type="button" class="quiet" onClick=${() => folderPicker.current.click()}>Choose a folder</button>
      </div>
      <input ref=${picker} class="hidden" type="file" multiple accept=${acceptOf(types.formats)} tabindex="-1"
             aria-label="Images" onChange=${picked} />
      <input ref=${folderPicker} class="hidden" type="file" webkitdirectory tabindex="-1" aria-label="A folder"
             onChange=${picked} />
    </div>
    <${ErrorMessage} error=${error} />
    <p role="status">${files.length ? total(files) : ""}</p>
    ${passedOver.length > 0 && html`<p class="help">${others(passedOver)}</p>`}
    ${files.length > 0 && html`
      <${WindowList} items=${files} rowPx=${ROW_PX} most=${6} label="Chosen files" row=${(item) => html`
        <span class="name">${item.name}</span><span class="faint">${bytes(item.file.size)}</span>
        <button type="button" class="icon" aria-label=${`Remove ${item.name}`} title="Remove"
                onClick=${() => onChange((before) => before.filter((each) => each !== item))}>×</button>`} />
      <button type="button" class="quiet" onClick=${() => onChange([])}>Remove all</button>`}`;
}

const total = (files) =>
  `${plural(files.length, "file")}, ${bytes(files.reduce((sum, { file }) => sum + file.size, 0))}`;

const SHOWN = 5;

// What the first ignored files are.
function others(passedOver) {
  const shown = passedOver.slice(0, SHOWN).map(({ path, type }) => `${path} is ${type}`);
  if (passedOver.length > SHOWN) shown.push(`and ${passedOver.length - SHOWN} more`);
  return `${plural(passedOver.length, "file")} ignored: ${shown.join(", ")}`;
}

const KINDS = { prefix: "Folder", file: "File", manifest: "Input list" };

export const inputDocument = ({ kind, path }) => (kind === "file" ? path : { [kind]: path });

export function Inputs({ inputs, onChange }) {
  const set = (index, change) => onChange(inputs.with(index, { ...inputs[index], ...change }));
  return html`
    <p class="help" id="inputs-help">A path below the server's input folder, or a bucket's URL: s3://, gs:// or az://.</p>
    ${inputs.map((input, index) => html`
      <div class="place" key=${index}>
        <select aria-label=${`Kind of input ${index + 1}`} onChange=${(event) => set(index, { kind: event.currentTarget.value })}>
          ${Object.entries(KINDS).map(([kind, text]) => html`
            <option key=${kind} value=${kind} selected=${kind === input.kind}>${text}</option>`)}
        </select>
        <input type="text" aria-label=${`Input ${index + 1}`} aria-describedby="inputs-help" value=${input.path}
               placeholder=${input.kind === "prefix" ? "gs://maps/delft/" : "delft/north/1.jpg"} spellcheck=${false}
               onInput=${(event) => set(index, { path: event.currentTarget.value })} />
        <button type="button" class="icon" aria-label=${`Remove input ${index + 1}`}
                onClick=${() => onChange(inputs.toSpliced(index, 1))}>×</button>
      </div>`)}
    <button type="button" class="quiet" onClick=${() => onChange([...inputs, { kind: "prefix", path: "" }])}>
      + Add input</button>`;
}
