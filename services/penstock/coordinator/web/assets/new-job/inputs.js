// Images that the server can read by itself: folders, files and input lists.
import { html, useState } from "../lib/html.js";
import { Browse } from "./browse.js";

const KINDS = { prefix: "Folder", file: "File", manifest: "Input list" };

export const inputDocument = ({ kind, path }) => (kind === "file" ? path : { [kind]: path });

export function Inputs({ inputs, onChange }) {
  const [browsed, browse] = useState(null);
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
        <button type="button" class="quiet" aria-label=${`Browse for input ${index + 1}`} onClick=${() => browse(index)}>Browse</button>
        <button type="button" class="icon" aria-label=${`Remove input ${index + 1}`}
                onClick=${() => onChange(inputs.toSpliced(index, 1))}>×</button>
      </div>`)}
    <button type="button" class="quiet" onClick=${() => onChange([...inputs, { kind: "prefix", path: "" }])}>
      + Add input</button>
    ${browsed !== null && html`<${Browse} start="" choose=${(input) => set(browsed, input)} close=${() => browse(null)} />`}`;
}
