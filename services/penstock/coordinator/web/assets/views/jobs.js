// All jobs, newest first, as they move.
import { get } from "../lib/api.js";
import { count, moment } from "../lib/format.js";
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { Badge, Heading, Trouble, usePolled } from "../parts/small.js";
import { WindowList } from "../parts/window-list.js";

const LOOK_MS = 2000;
const ROW_PX = 84;
const STATES = ["accepted", "running", "succeeded", "partial", "failed", "cancelled"];

export function JobsView() {
  const [state, setState] = useState("");
  const query = `/v1/jobs?limit=100${state && `&state=${state}`}`;
  const { data, error } = usePolled((signal) => get(query, signal), LOOK_MS, query);
  const [older, setOlder] = useState(null);
  useEffect(() => setOlder(null), [query]);
  const jobs = useMemo(() => merge(data?.jobs || [], older?.jobs || []), [data, older]);

  const next = older ? older.next : data?.next;
  const [asking, setAsking] = useState(false);
  const more = async () => {
    if (!next || asking) return;
    setAsking(true);
    const page = await get(next).catch(() => null);
    if (page) setOlder((before) => ({ jobs: [...(before?.jobs || []), ...page.jobs], next: page.next }));
    setAsking(false);
  };

  return html`
    <${Heading}>Jobs<//>
    <div class="row">
      <label for="state">State</label>
      <select id="state" onChange=${(event) => setState(event.currentTarget.value)}>
        <option value="">all</option>
        ${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
      </select>
      <span class="faint" role="status">${data && `${count(jobs.length)}${next ? " and more" : ""}`}</span>
    </div>
    <${Trouble} error=${error} />
    ${data && !jobs.length && html`<p class="empty">No job here yet. <a href="#/">Begin one</a>.</p>`}
    ${jobs.length > 0 && html`<${WindowList} items=${jobs} rowPx=${ROW_PX} most=${9} label="Jobs" onNearEnd=${more}
                                             row=${(job) => html`<${Row} job=${job} />`} />`}`;
}

// Older pages were read once; what moved on to them from the first page stands there only.
function merge(newest, older) {
  const seen = new Set(newest.map(({ id }) => id));
  return [...newest, ...older.filter(({ id }) => !seen.has(id))];
}

function Row({ job }) {
  const { total, done, failed } = job.images;
  return html`
    <a class="job-row" href=${`#/jobs/${job.id}`}>
      <span class="name">${job.name || job.id}</span>
      <${Badge} state=${job.state} />
      <progress max=${Math.max(total, 1)} value=${done + failed} aria-label="Images that ended"></progress>
      <span class="faint numbers">${count(done)} of ${count(total)}${failed ? `, ${count(failed)} failed` : ""}
        · ${moment(job.created_at)}</span>
    </a>`;
}
