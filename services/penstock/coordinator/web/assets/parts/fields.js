// Form fields for an operation's JSON Schema.
import { html } from "../lib/html.js";
import { fieldsOf, readField } from "../lib/schema.js";

// The fields of an operation. Those that its example leaves out are folded away.
export function Fields({ operation, values, onChange, prefix, without = [] }) {
  const fields = fieldsOf(operation.parameters).filter((field) => !without.includes(field.name));
  const example = operation.example?.long;
  const isShown = ({ name, required }) => !example || required || name in example;
  const show = (field) => html`
    <${Field} key=${field.name} field=${field} id=${`${prefix}-${field.name}`} value=${values[field.name]}
              onChange=${(value) => onChange({ ...values, [field.name]: value })} />`;
  const folded = fields.filter((field) => !isShown(field));
  return html`
    <div class="fields">${fields.filter(isShown).map(show)}</div>
    ${folded.length > 0 && html`
      <details class="more"><summary>More options</summary><div class="fields">${folded.map(show)}</div></details>`}`;
}

function Field({ field, id, value, onChange }) {
  const described = field.help ? `${id}-help` : null;
  return html`<div class=${`field ${field.kind}`}>
    <label for=${id}>${field.label}${!field.optional || field.fallback !== undefined ? "" : html` <span class="faint">(optional)</span>`}</label>
    ${control(field, { id, "aria-describedby": described, required: field.required }, value, onChange)}
    ${field.help && html`<p class="help" id=${described}>${field.help}</p>`}
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
        <option key=${choice} value=${String(choice)} selected=${choice === value}>${String(choice)}</option>`)}
    </select>`;
  }
  const shown = typeof value === "object" ? JSON.stringify(value) : value ?? "";
  if (field.kind === "integer" || field.kind === "number") {
    return html`<input ...${attributes} type="number" inputmode="decimal" step=${field.kind === "integer" ? 1 : "any"}
                       min=${field.min} max=${field.max} value=${shown} onInput=${typed} />`;
  }
  return html`<input ...${attributes} type="text" value=${shown} onInput=${typed} />`;
}
