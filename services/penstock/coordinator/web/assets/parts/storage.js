// Bytes of uploads and results: of every key whose jobs the caller may see, and in all.
import { bytes, count, moment } from "../lib/format.js";
import { html } from "../lib/html.js";

const HEAD = ["Key", "Jobs", "Uploads", "Results", "Allowed", "Next expiry"];

export function Storage({ usage: { owners, total } }) {
  const rows = owners.map((each) => [each.owner || "No key", each]);
  if (total && (rows.length !== 1 || total.max_bytes !== null)) rows.push(["All", total]);
  return html`
    <section class="card storage" aria-labelledby="storage-title">
      <h2 id="storage-title">Storage</h2>
      <table aria-labelledby="storage-title">
        <thead><tr>${HEAD.map((name) => html`<th key=${name}>${name}</th>`)}</tr></thead>
        <tbody>${rows.map(([name, each]) => html`
          <tr key=${name}><td class="name">${name}</td><td class="numbers">${count(each.jobs)}</td>
            <td class="numbers">${bytes(each.upload_bytes)}</td><td class="numbers">${bytes(each.result_bytes)}</td>
            <td class="numbers">${bytes(each.max_bytes)}</td>
            <td>${each.next_expires_at ? moment(each.next_expires_at) : "–"}</td></tr>`)}</tbody>
      </table>
    </section>`;
}
