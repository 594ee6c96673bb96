// The workers by the steps that they serve: host, process, version, and what each does.
import { count, plural, span } from "../lib/format.js";
import { html } from "../lib/html.js";

const SHOWN = 100;

export function Workers({ workers }) {
  const groups = new Map();
  for (const worker of workers) {
    const name = worker.steps.join(", ");
    groups.set(name, [...(groups.get(name) || []), worker]);
  }
  return html`
    <section class="card workers" aria-labelledby="workers-title">
      <h2 id="workers-title">Workers</h2>
      ${!workers.length && html`<p class="empty">No worker has told of itself yet.</p>`}
      ${[...groups].map(([steps, some]) => html`
        <table key=${steps} aria-label=${`Workers of ${steps || "unknown steps"}`}>
          <caption>${steps || "Steps not known yet"} <span class="faint">${plural(some.length, "worker")}, ${count(some.filter(({ step }) => step).length)} busy</span></caption>
          <thead><tr><th>Host</th><th>Process</th><th>Version</th><th>Now</th></tr></thead>
          <tbody>${some.slice(0, SHOWN).map((worker) => html`
            <tr key=${`${worker.host}:${worker.process}`}><td class="name">${worker.host}</td><td class="numbers">${worker.process}</td>
              <td>${worker.version || "–"}</td><td>${doing(worker)}</td></tr>`)}</tbody>
        </table>
        ${some.length > SHOWN && html`<p class="faint">and ${count(some.length - SHOWN)} more</p>`}`)}
    </section>`;
}

function doing({ step, seconds, waiting_for: waiting }) {
  if (waiting) return html`<span class="badge failed">waits for ${waiting}</span>`;
  return step ? html`<span class="badge running">${step}</span> <span class="faint numbers">${seconds >= 1 ? span(seconds) : ""}</span>` : html`<span class="faint">idle</span>`;
}
