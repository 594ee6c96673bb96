// One job: progress, failures, images and actions.
import { at, call, get } from "../lib/api.js";
import { follow, keepTrying } from "../lib/events.js";
import { bytes, count, moment, plural } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { againUrl, templateUrl } from "../lib/templates.js";
import { NotifyButton, useAttention } from "../parts/attention.js";
import { Chips, Labels, Outputs } from "../parts/chips.js";
import { Deliveries } from "../parts/deliveries.js";
import { Confirm } from "../parts/dialog.js";
import { Failures } from "../parts/failures.js";
import { Gallery } from "../parts/gallery.js";
import { Places } from "../parts/map.js";
import { Menu } from "../parts/menu.js";
import { Badge, Heading, ErrorMessage, useVisible } from "../parts/small.js";
import { Skipped } from "../parts/skipped.js";
import { Steps } from "../parts/steps.js";
import { Totals } from "../parts/totals.js";
import { Viewer } from "../parts/viewer.js";

const FORMS = [["ndjson", "JSON lines"], ["csv", "CSV"], ["geojson", "GeoJSON"]];
const ENDED = ["succeeded", "partial", "failed", "cancelled"];

export function JobView({ id, shown }) {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const [broken, setBroken] = useState(false);
  const [doing, setDoing] = useState("");
  const path = at(`/v1/jobs/${encodeURIComponent(id)}`);
  const open = Boolean(job) && !ENDED.includes(job.state);
  // The whole job is read when the page opens and when the job ends or is retried; events update the rest.
  useEffect(() => {
    const stop = new AbortController();
    keepTrying((signal) => get(path, signal), setJob, setError, stop.signal);
    return () => stop.abort();
  }, [path, open]);
  // Browsers open at most six connections to a server for all tabs together; a hidden tab should hold none.
  const followed = useVisible() && open;
  useEffect(() => {
    if (!followed) return undefined;
    const stop = new AbortController();
    const take = (name, progress) => {
      setBroken(false);
      if (name === "progress" || name === "end") setJob((before) => ({ ...before, ...progress }));
    };
    follow(`${path}/events`, take, () => setBroken(true), stop.signal).catch(setError);
    return () => stop.abort();
  }, [followed, path]);

  // One action at a time: a second click would be refused.
  const attempt = async (what, work) => {
    if (doing) return;
    setDoing(what);
    setError(null);
    await work().catch(setError);
    setDoing("");
  };
  const cancel = () => attempt("Cancelling", async () => setJob(await call("POST", `${path}/cancel`)));
  // `which` is `{ images }`, `{ code }`, or nothing for all that a retry may help.
  const retry = (which) => attempt("Retrying", async () => setJob(await call("POST", `${path}/retry`, { json: which })));
  const remove = () => attempt("Deleting", async () => {
    await call("DELETE", path);
    location.replace("#/jobs");
  });

  useTitle(job, open);
  useAttention(job, open);

  const viewer = useViewer(id, shown);

  if (!job) return html`<${Heading}>Job<//><${ErrorMessage} error=${error} />`;
  const retried = takesRetries(job) && retry;
  return html`
    <div class="job-head">
      <${Heading} clamped>${job.name || job.id}<//>
      <${Actions} job=${job} open=${open} doing=${doing} cancel=${cancel} retry=${retry} remove=${remove} />
    </div>
    <p class="facts"><${Badge} state=${job.state} />${job.name && html`<span>${job.id}</span>`}<span>${moment(job.created_at)}</span>
      ${job.owner && html`<span>key ${job.owner}</span>`}<span class="name">${job.source ? `from ${job.source}` : "from uploaded files"}</span>
      ${job.run > 0 && html`<span>${job.run === 1 ? "retried once" : `retried ${job.run} times`}</span>`}
      ${job.upload_bytes > 0 && html`<span>${bytes(job.upload_bytes)} uploaded</span>`}
      ${!open && job.result_bytes > 0 && html`<span>${bytes(job.result_bytes)} of results</span>`}
      ${job.expires_at && html`<span>expires ${moment(job.expires_at)}</span>`}</p>
    <p class="facts"><${Chips} operations=${job.operations} /><${Labels} labels=${job.labels} /></p>
    <${Outputs} outputs=${job.outputs} />
    <p class="hidden" role="status">${`The job is ${job.state}`}</p>
    <${ErrorMessage} error=${error} />
    ${open && broken && html`<p class="trouble" role="status">Connection lost; reconnecting.</p>`}
    ${open && job.waiting_for && html`<p class="trouble" role="status">Waiting for: ${job.waiting_for}</p>`}
    <div class="halves">
      <${Totals} job=${job} open=${open} />
      <${Steps} job=${job} />
    </div>
    ${job.images.failed > 0 && html`<${Failures} key=${`failures ${job.run}`} path=${path} job=${job} open=${open} retry=${retried} />`}
    ${job.skipped.count > 0 && html`<${Skipped} skipped=${job.skipped} />`}
    <${Gallery} key=${`images ${job.run}`} path=${path} job=${job} open=${open} retry=${retried} show=${viewer.show} />
    <${Places} path=${path} version=${`${job.run} ${open}`} show=${viewer.show} />
    ${job.webhook && html`<${Deliveries} webhook=${job.webhook} open=${open} />`}
    ${shown !== null && html`<${Viewer} path=${path} job=${job} id=${shown} close=${viewer.close} go=${viewer.go} />`}`;
}

// The viewer has an address of its own, so that Back closes it and a link opens it.
function useViewer(id, shown) {
  const opened = useRef(false);
  const address = (image) => `#/jobs/${id}${image === null ? "" : `/images/${image}`}`;
  const show = (image) => {
    opened.current = true;
    location.hash = address(image);
  };
  const close = () => {
    if (!location.hash.startsWith(`${address(null)}/`)) return;
    if (opened.current) history.back();
    else location.replace(address(null));
    opened.current = false;
  };
  useEffect(() => {
    if (shown === null) opened.current = false;
  }, [shown]);
  return { show, close, go: (image) => location.replace(address(image)) };
}

// The tab's title: the job's name, and its progress while it runs.
function useTitle(job, open) {
  const { total, done, failed } = job?.images || {};
  const share = open && total ? `${Math.floor((100 * (done + failed)) / total)} % · ` : "";
  useEffect(() => {
    if (job) document.title = `${share}${job.name || job.id} · Penstock`;
  }, [share, job?.name]);
}

const retryableOf = ({ failures }) => failures.reduce((sum, group) => sum + group.retryable, 0);

const takesRetries = ({ state }) => state === "partial" || state === "failed";

function Actions({ job, open, doing, cancel, retry, remove }) {
  const [confirming, setConfirming] = useState(false);
  const { total, done } = job.images;
  const retryable = retryableOf(job);
  return html`<div class="row actions">
    ${done > 0 && html`<a class="button main" href=${job.links.archive} download>Download results (.zip)</a>`}
    ${open && html`<${ActionButton} off=${doing} go=${cancel}>Cancel<//><${NotifyButton} />`}
    ${retryable > 0 && takesRetries(job) && html`<${ActionButton} off=${doing} go=${() => retry()}>Retry failed (${count(retryable)})<//>`}
    <${Menu} label="More">
      <a href=${againUrl(job)}>Run again with…</a>
      <a href=${templateUrl(job)}>Use as template</a>
      <a href=${job.links.static}>Files</a>
      ${FORMS.map(([form, name]) => html`<a key=${form} href=${`${job.links.self}/manifest?format=${form}`} download>Manifest (${name})</a>`)}
      ${!open && html`<button type="button" class="grave" onClick=${() => doing || setConfirming(true)}>Delete</button>`}
    <//>
    <span role="status" class="faint">${doing && `${doing}…`}</span>
    ${confirming && html`<${Confirm} title=${`Delete ${job.name || job.id}?`} no="Keep it" yes="Delete it"
      text=${`${plural(total, "image")} with all results will be deleted for good. Files in your own buckets stay.`}
      act=${remove} close=${() => setConfirming(false)} />`}
  </div>`;
}

const ActionButton = ({ off, go, children }) => html`
  <button type="button" aria-disabled=${Boolean(off)} onClick=${() => off || go()}>${children}</button>`;
