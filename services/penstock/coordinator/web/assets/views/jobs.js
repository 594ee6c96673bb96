// All jobs in pages, newest first, updated every two seconds: searched, filtered, and several cancelled, retried or
// deleted at once.
import { at, call } from "../lib/api.js";
import { count, moment, plural, span } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { againUrl, templateUrl } from "../lib/templates.js";
import { Chips, Labels } from "../parts/chips.js";
import { Confirm } from "../parts/dialog.js";
import { Pager, usePage } from "../parts/paged.js";
import { Segments, countsText } from "../parts/segments.js";
import { Badge, Heading, ErrorMessage } from "../parts/small.js";

const A_PAGE = 50;
const STATES = ["accepted", "running", "succeeded", "partial", "failed", "cancelled"];
const OPEN = ["accepted", "running"];
const TYPING_MS = 250;

export function JobsView() {
  const [state, setState] = useState("");
  const [typed, setTyped] = useState("");
  const search = useSettled(typed.trim(), TYPING_MS);
  const [chosen, setChosen] = useState(() => new Set());
  const label = search.includes("=") ? search : "";
  const filters = { state, label, search: label ? "" : search };
  const query = Object.entries(filters).filter(([, value]) => value).map(([name, value]) => `&${name}=${encodeURIComponent(value)}`);
  const paged = usePage(`/v1/jobs?limit=${A_PAGE}${query.join("")}`);
  const jobs = paged.page?.jobs || [];
  const owned = jobs.some(({ owner }) => owner);
  const picked = jobs.filter((job) => chosen.has(job.id));
  const toggle = (ids, on) => setChosen((before) => {
    const after = new Set(before);
    ids.forEach((id) => (on ? after.add(id) : after.delete(id)));
    return after;
  });
  return html`
    <${Heading}>Jobs<//>
    <div class="row filters">
      <input type="search" class="search" aria-label="Search by name, id or label" placeholder="Name, id, or label=value"
             value=${typed} onInput=${(event) => setTyped(event.currentTarget.value)} />
      <label for="state">State</label>
      <select id="state" onChange=${(event) => setState(event.currentTarget.value)}>
        <option value="">all</option>
        ${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
      </select>
      ${paged.page && html`<span class="faint total" role="status">${plural(paged.page.total, "job")}</span>`}
    </div>
    <${ErrorMessage} error=${paged.error} />
    ${picked.length > 0 && html`<${Selection} jobs=${picked} clear=${() => setChosen(new Set())} />`}
    ${paged.page && !jobs.length && html`<p class="empty">${query.length ? "No job matches." : html`No jobs yet. <a href="#/">Create one</a>.`}</p>`}
    ${jobs.length > 0 && html`<table class="jobs" aria-label="Jobs">
      <thead><tr>
        <th class="check"><input type="checkbox" aria-label="All jobs of this page" checked=${picked.length === jobs.length}
            onChange=${(event) => toggle(jobs.map(({ id }) => id), event.currentTarget.checked)} /></th>
        <th class="photo"><span class="hidden">First image</span></th><th>Name</th><th class="ops">Operations</th><th>Images</th><th>State</th>
        <th class="took">Duration</th><th class="when">Created</th>${owned && html`<th class="owner">Key</th>`}
      </tr></thead>
      <tbody>${jobs.map((job) => html`<${Row} key=${job.id} job=${job} owned=${owned}
        chosen=${chosen.has(job.id)} choose=${(on) => toggle([job.id], on)} />`)}</tbody>
    </table>`}
    <${Pager} ...${paged} label="Pages of jobs" />`;
}

// A value once it has not changed for a moment.
function useSettled(value, ms) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function Row({ job, owned, chosen, choose }) {
  const name = job.name || job.id;
  return html`<tr class=${`job-row ${chosen ? "chosen" : ""}`}>
    <td class="check"><input type="checkbox" aria-label=${`Choose ${name}`} checked=${chosen}
        onChange=${(event) => choose(event.currentTarget.checked)} /></td>
    <td class="photo"><span><${Photo} job=${job} /></span></td>
    <td class="title"><a class="name clamped" href=${`#/jobs/${job.id}`} title=${name}>${name}</a><${Labels} labels=${job.labels} /></td>
    <td class="ops"><${Chips} operations=${job.operations} />${(job.outputs || []).map(({ name, operations }) => html`
      <div key=${name}>${name} <${Chips} operations=${operations} /></div>`)}</td>
    <td class="progress"><${Segments} images=${job.images} /><div class="faint numbers">${countsText(job.images)}</div></td>
    <td><${Badge} state=${job.state} /></td>
    <td class="took numbers">${durationOf(job)}</td>
    <td class="when numbers">${moment(job.created_at)}</td>
    ${owned && html`<td class="owner">${job.owner}</td>`}
  </tr>`;
}

function Photo({ job }) {
  const [missing, setMissing] = useState(false);
  if (missing || !job.images.done) return null;
  return html`<img src=${at(`/v1/jobs/${job.id}/images/0/thumbnail?of=source`)} alt="" loading="lazy" decoding="async"
                   onError=${() => setMissing(true)} />`;
}

const durationOf = ({ worked_seconds: secs }) => span(secs);

function Selection({ jobs, clear }) {
  const [error, setError] = useState(null);
  const [confirming, setConfirming] = useState(false);
  const open = jobs.filter(({ state }) => OPEN.includes(state));
  const ended = jobs.filter(({ state }) => !OPEN.includes(state));
  const failed = ended.filter(({ failures, state }) => state !== "cancelled" && failures.some(({ retryable }) => retryable > 0));
  const each = async (some, method, action = "") => {
    const paths = some.map(({ id }) => `/v1/jobs/${id}${action}`);
    const outcomes = await Promise.allSettled(paths.map((path) => call(method, path)));
    const refused = outcomes.filter(({ status }) => status === "rejected");
    setError(refused[0]?.reason || null);
    if (!refused.length) clear();
  };
  return html`
    <div class="row card" role="group" aria-label="Chosen jobs">
      <b>${plural(jobs.length, "job")} chosen</b>
      ${open.length > 0 && html`<button type="button" onClick=${() => each(open, "POST", "/cancel")}>Cancel (${count(open.length)})</button>`}
      ${failed.length > 0 && html`<button type="button" onClick=${() => each(failed, "POST", "/retry")}>Retry failed (${count(failed.length)})</button>`}
      ${ended.length > 0 && html`<button type="button" class="grave" onClick=${() => setConfirming(true)}>Delete (${count(ended.length)})</button>`}
      ${jobs.length === 1 && html`<a class="button" href=${againUrl(jobs[0])}>Run again with…</a>
        <a class="button" href=${templateUrl(jobs[0])}>Use as template</a>`}
      <button type="button" class="quiet" onClick=${clear}>Clear</button>
      <${ErrorMessage} error=${error} />
      ${confirming && html`<${Confirm} title=${`Delete ${plural(ended.length, "job")}?`} no="Keep them" yes="Delete them"
        text="Their images and results will be deleted for good. Files in your own buckets stay."
        act=${() => each(ended, "DELETE")} close=${() => setConfirming(false)} />`}
    </div>`;
}
