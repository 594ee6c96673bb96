// How files are read, and how results are written: the operations `decode` and `encode`, which every job has.
import { html } from "../lib/html.js";
import { Fields } from "./fields.js";
import { withoutFormat } from "./draft.js";

export const Results = ({ operation, values, onChange, prefix = "encode" }) => html`
  <${Fields} operation=${operation} values=${values} onChange=${onChange} prefix=${prefix} without=${withoutFormat(values.format)} />`;

export const Reading = ({ operation, values, onChange }) => html`
  <details class="more"><summary>Metadata, colour and reading</summary>
    <${Fields} operation=${{ ...operation, example: null }} values=${values} onChange=${onChange} prefix="decode" />
  </details>`;
