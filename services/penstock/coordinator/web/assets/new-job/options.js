// Options of a job that few jobs need: its name, labels, priority, webhook, and where and how results are kept.
import { html } from "../lib/html.js";
import { labelsProblem } from "./draft.js";
import { takeComma } from "./fields.js";

const FIELDS = [
  ["name", "Name", "text", { maxlength: 200 }, "Shown in the list of jobs"],
  ["labels", "Labels", "text", { placeholder: "city=delft, year=2026", maxlength: 2000 }, "To find jobs by: key=value, separated by commas"],
  ["priority", "Priority", "number", { min: -100, max: 100, step: 1, placeholder: "0" }, "Jobs of a higher priority go first"],
  ["deadline", "Deadline", "text", { maxlength: 40, placeholder: "2h", spellcheck: false }, "When the job should have ended: 90s, 10m, 2h, or a time such as 2026-12-01T18:00:00Z"],
  ["names", "Names of results", "text", { maxlength: 200, placeholder: "{folder}/{stem}-{part}.{ext}", spellcheck: false }, "A template of {folder}, {stem}, {part}, {width}, {height} and {ext}"],
  ["results", "Folder for results", "text", { maxlength: 1024, placeholder: "s3://photos/out/", spellcheck: false }, "In a bucket that the server may write to; without it, the server keeps the results"],
  ["webhook", "Webhook", "url", { maxlength: 2000, placeholder: "https://example.org/done", spellcheck: false }, "A URL that is called when the job ends"],
];

export const JobOptions = ({ draft, onChange }) => html`
  <details class="card options">
    <summary>Options</summary>
    <div class="fields">
      ${FIELDS.map(([name, label, type, attributes, help]) => html`
        <div class="field" key=${name}>
          <label for=${`job-${name}`}>${label}</label>
          <input id=${`job-${name}`} type=${type} value=${draft[name]} ref=${(input) => input?.setCustomValidity(name === "labels" ? labelsProblem(draft.labels) : "")} aria-describedby=${`job-${name}-help`} ...${attributes}
                 onbeforeinput=${type === "number" ? takeComma : null} onInput=${(event) => onChange({ [name]: event.currentTarget.value })} />
          <p class="help" id=${`job-${name}-help`}>${help}</p>
        </div>`)}
    </div>
  </details>`;
