// Several outputs of each image: each has a name, operations after the shared ones, and a format.
import { html } from "../lib/html.js";
import { Operations } from "./operations.js";
import { Results } from "./reading.js";

export function Outputs({ known, outputs, onChange }) {
  const set = (index, part) => onChange(outputs.with(index, { ...outputs[index], ...part }));
  return html`
    <ol class="outputs" aria-label="Outputs">
      ${outputs.map((output, index) => {
        const id = `output-${output.key}`;
        return html`
          <li class="output" key=${output.key} aria-label=${output.name}>
            <div class="output-head">
              <div class="field text"><label for=${`${id}-name`}>Name</label>
                <input id=${`${id}-name`} type="text" required maxlength="40" pattern="[A-Za-z0-9][A-Za-z0-9_\\-]*" spellcheck=${false}
                       title="Letters, digits, - and _" value=${output.name} onInput=${(event) => set(index, { name: event.currentTarget.value })} /></div>
              <button type="button" class="icon" aria-label=${`Remove output ${output.name}`} title="Remove"
                      onClick=${() => onChange(outputs.toSpliced(index, 1))}>×</button>
            </div>
            <${Operations} known=${known} chosen=${output.chosen} onChange=${(chosen) => set(index, { chosen })} prefix=${`${id}-`}
                           label=${`Operations of ${output.name}`} empty="No operations of its own." />
            <${Results} operation=${known.get("encode")} values=${output.encode} onChange=${(encode) => set(index, { encode })} prefix=${`${id}-encode`} />
          </li>`;
      })}
    </ol>`;
}
