// Files in a job's inputs that were left out, with the reason.
import { count, plural } from "../lib/format.js";
import { html } from "../lib/html.js";

export const Skipped = ({ skipped: { count: total, first } }) => html`
  <details class="card skipped">
    <summary>${plural(total, "file was", "files were")} left out</summary>
    <ul>${first.map(({ name, reason }) => html`<li key=${name}><span class="name">${name}</span> <span class="faint">is ${reason}</span></li>`)}</ul>
    ${total > first.length && html`<p class="faint">and ${count(total - first.length)} more</p>`}
  </details>`;
