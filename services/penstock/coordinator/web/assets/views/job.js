// One job: progress, failures, images and actions.
import { call, get } from "../lib/api.js";
import { follow, keepTrying } from "../lib/events.js";
import { count, moment, plural, rate, span } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Chips, Labels } from "../parts/chips.js";
import { Deliveries } from "../parts/deliveries.js";
import { Confirm } from "../parts/dialog.js";
import { Failures } from "../parts/failures.js";
import { Gallery } from "../parts/gallery.js";
import { Menu } from "../parts/menu.js";
import { Segments } from "../parts/segments.js";
import { Badge, Heading, ErrorMessage, useVisible } from "../parts/small.js";
import { Steps } from "../parts/steps.js";

const ENDED = ["succeeded", "partial", "failed", "cancelled"];

export function JobView({ id, shown }) {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const [broken, setBroken] = useState(false);
  const [doing, setDoing] = useState("");
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
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
    follow(`${path}/events`, take, () => setBroken(true), stop.signal);
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
  const retry = (images) =>
    attempt("Retrying", async () => setJob(await call("POST", `${path}/retry`, { json: images && { images } })));
  const remove = () => attempt("Deleting", async () => {
    await call("DELETE", path);
    location.replace("#/jobs");
  });

  useTitle(job, open);

  if (!job) return html`<${Heading}>Job<//><${ErrorMessage} error=${error} />`;
  return html`
    <${Heading}>${job.name || job.id}<//>
    <p class="facts"><${Badge} state=${job.state} />${job.name && html`<span>${job.id}</span>`}<span>${moment(job.created_at)}</span>
      ${job.owner && html`<span>${job.owner}</span>`}
      ${job.run > 0 && html`<span>${job.run === 1 ? "retried once" : `retried ${job.run} times`}</span>`}</p>
    <p class="facts"><${Chips} operations=${job.operations} /><${Labels} labels=${job.labels} /></p>
    <p class="hidden" role="status">${`The job is ${job.state}`}</p>
    <${Actions} job=${job} open=${open} doing=${doing} cancel=${cancel} retry=${retry} remove=${remove} />
    <${ErrorMessage} error=${error} />
    ${open && broken && html`<p class="trouble" role="status">Connection lost; reconnecting.</p>`}
    <${Totals} job=${job} open=${open} />
    <${Steps} steps=${job.steps} operations=${job.operations.filter(({ op }) => op !== "decode")} bottleneck=${job.bottleneck} total=${job.images.total} />
    ${job.images.failed > 0 && html`
      <${Failures} key=${`failures ${job.run}`} path=${path} total=${job.images.failed} open=${open}
                   retry=${takesRetries(job) && retry} />`}
    <${Gallery} key=${`images ${job.run}`} path=${path} job=${job} open=${open} shown=${shown} />
    ${job.webhook && html`<${Deliveries} webhook=${job.webhook} open=${open} />`}`;
}

// The tab's title: the job's name, and its progress while it runs.
function useTitle(job, open) {
  const { total, done, failed } = job?.images || {};
  const share = open && total ? `${Math.floor((100 * (done + failed)) / total)} % · ` : "";
  useEffect(() => {
    if (job) document.title = `${share}${job.name || job.id} · Penstock`;
  }, [share, job?.name]);
}

const takesRetries = ({ state }) => state === "partial" || state === "failed";

function Actions({ job, open, doing, cancel, retry, remove }) {
  const [confirming, setConfirming] = useState(false);
  const { total, done, failed } = job.images;
  return html`<div class="row actions">
    ${done > 0 && html`<a class="button main" href=${job.links.archive} download>Download results (.zip)</a>`}
    ${open && html`<${ActionButton} off=${doing} go=${cancel}>Cancel<//>`}
    ${failed > 0 && takesRetries(job) && html`<${ActionButton} off=${doing} go=${() => retry()}>Retry failed (${count(failed)})<//>`}
    <${Menu} label="More">
      <a href=${job.links.static}>Files</a>
      <a href=${job.links.results}>Manifest (JSON)</a>
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

function Totals({ job, open }) {
  const { total, done, failed, cancelled } = job.images;
  const took = job.started_at && job.finished_at && (new Date(job.finished_at) - new Date(job.started_at)) / 1000;
  const facts = [
    ["Images", count(total)],
    ["Done", count(done)],
    ["Failed", count(failed)],
    cancelled && ["Cancelled", count(cancelled)],
    ["Rate", rate(job.images_per_second)],
    open ? ["Time left", job.eta_seconds === null ? "unknown" : span(job.eta_seconds)] : took && ["Duration", span(took)],
  ];
  return html`
    <section class="card" aria-label="Progress">
      <${Segments} images=${job.images} whole />
      <dl class="figures">${facts.filter(Boolean).map(([name, value]) => html`
        <div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    </section>`;
}
