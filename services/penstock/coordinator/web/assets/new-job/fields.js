// Form fields for an operation's JSON Schema.
import { html } from "../lib/html.js";
import { fieldsOf, matters, readField } from "../lib/schema.js";

// The fields of an operation that matter. Those that its example leaves out are folded away.
export function Fields({ operation, values, onChange, prefix, without = [] }) {
  const fields = fieldsOf(operation.parameters).filter((field) => !without.includes(field.name) && !isSwitch(field) && matters(field, values));
  const example = operation.example?.long;
  const isShown = ({ name, required, when }) => !example || required || when || name in example;
  const show = (field) => html`
    <${Field} key=${field.name} field=${field} id=${`${prefix}-${field.name}`} value=${values[field.name]}
              onChange=${(value) => onChange({ ...values, [field.name]: value })} />`;
  const folded = fields.filter((field) => !isShown(field));
  return html`
    ${fields.length > 0 && html`<div class="fields">${fields.filter(isShown).map(show)}</div>`}
    ${folded.length > 0 && html`
      <details class="more"><summary>More options</summary><div class="fields">${folded.map(show)}</div></details>`}`;
}

// Takes a decimal comma as a point in a field of a number. Browsers may drop it: 1,5 would become 15.
export function takeComma(event) {
  if (!event.cancelable || !event.data?.includes(",")) return;
  event.preventDefault();
  document.execCommand("insertText", false, event.data.replaceAll(",", "."));
}

// Whether a field only says that the operation is wanted, which adding it says as well.
const isSwitch = ({ name, kind, fallback }) => name === "enabled" && kind === "boolean" && fallback === true;

// Titles of choices say what their description says, which is then a tooltip.
function Field({ field, id, value, onChange }) {
  const isTitled = Object.keys(field.titles).length > 0;
  const described = field.help && !isTitled ? `${id}-help` : null;
  return html`<div class=${`field ${field.kind}`}>
    <label for=${id} title=${isTitled ? field.help : null}>${field.label}</label>
    ${control(field, { id, "aria-describedby": described, required: field.required }, value, onChange)}
    ${described && html`<p class="help" id=${described}>${field.when ? field.help.replace(/^\w+: /, "") : field.help}</p>`}
  </div>`;
}

function control(field, attributes, value, onChange) {
  const typed = (event) => onChange(readField(field, event.currentTarget.value));
  if (field.kind === "boolean") {
    return html`<input ...${attributes} required=${false} type="checkbox" checked=${Boolean(value)}
                       onChange=${(event) => onChange(event.currentTarget.checked)} />`;
  }
  if (field.kind === "choice") {
    return html`<select ...${attributes} onChange=${typed}>
      ${field.optional && field.fallback === undefined && html`<option value="" selected=${value === undefined}></option>`}
      ${field.choices.map((choice) => html`
        <option key=${choice} value=${String(choice)} selected=${choice === value}>${field.titles[choice] ?? String(choice)}</option>`)}
    </select>`;
  }
  if (/^#[0-9a-f]{6}$/i.test(field.fallback ?? "")) {
    return html`<input ...${attributes} type="color" value=${value ?? field.fallback} onInput=${typed} />`;
  }
  if (field.kind === "list") {
    return html`<input ...${attributes} type="text" value=${(value ?? []).join(", ")} placeholder="separated by commas" onChange=${typed} />`;
  }
  const shown = typeof value === "object" ? JSON.stringify(value) : value ?? "";
  if (field.kind === "integer" || field.kind === "number") {
    // Set only to another number: setting what is typed, such as `1.` and `0.0` on the way to `1.5` and `0.05`, loses it.
    const show = (input) => {
      if (input && readField(field, input.value) !== value) input.value = shown;
    };
    return html`<input ...${attributes} type="number" inputmode="decimal" step=${field.kind === "integer" ? 1 : "any"}
                       min=${field.min} max=${field.max} ref=${show} onbeforeinput=${takeComma} onInput=${typed} />`;
  }
  return html`<input ...${attributes} type="text" value=${shown} onInput=${typed} />`;
}
