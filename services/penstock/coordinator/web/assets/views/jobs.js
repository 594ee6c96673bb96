// All jobs in pages, newest first, updated every two seconds.
import { count, moment } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Pager, usePage } from "../parts/paged.js";
import { Badge, Heading, ErrorMessage } from "../parts/small.js";

const A_PAGE = 50;
const STATES = ["accepted", "running", "succeeded", "partial", "failed", "cancelled"];

export function JobsView() {
  const [state, setState] = useState("");
  const paged = usePage(`/v1/jobs?limit=${A_PAGE}${state && `&state=${state}`}`);
  const jobs = paged.page?.jobs || [];
  return html`
    <${Heading}>Jobs<//>
    <div class="row">
      <label for="state">State</label>
      <select id="state" onChange=${(event) => setState(event.currentTarget.value)}>
        <option value="">all</option>
        ${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
      </select>
    </div>
    <${ErrorMessage} error=${paged.error} />
    ${paged.page && !jobs.length && html`<p class="empty">No jobs. <a href="#/">Create one</a>.</p>`}
    <ul class="jobs" aria-label="Jobs">
      ${jobs.map((job) => html`<li key=${job.id}><${Row} job=${job} /></li>`)}
    </ul>
    <${Pager} ...${paged} label="Pages of jobs" />`;
}

function Row({ job }) {
  const { total, done, failed, cancelled } = job.images;
  return html`
    <a class="job-row" href=${`#/jobs/${job.id}`}>
      <span class="name">${job.name || job.id}</span>
      <${Badge} state=${job.state} />
      <progress max=${Math.max(total, 1)} value=${done + failed + cancelled} aria-label="Images that ended"></progress>
      <span class="faint numbers">${count(done)} of ${count(total)}${failed ? `, ${count(failed)} failed` : ""}${" · "}
        ${moment(job.created_at)}</span>
    </a>`;
}
