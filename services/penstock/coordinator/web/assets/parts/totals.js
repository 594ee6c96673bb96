// How far a job is: its images as one bar, the numbers, and its throughput over time.
import { count, rate, span } from "../lib/format.js";
import { html } from "../lib/html.js";
import { Curve } from "./curve.js";
import { Deadline } from "./deadline.js";
import { Segments } from "./segments.js";

const MIN_POINTS = 3;

export function Totals({ job, open }) {
  const { total, done, failed, cancelled } = job.images;
  const facts = [
    ["Images", count(total)],
    ["Done", count(done), "done"],
    failed > 0 && ["Failed", count(failed), "failed"],
    cancelled > 0 && ["Cancelled", count(cancelled), "cancelled"],
    job.images_per_second !== null && ["Rate", rate(job.images_per_second)],
    open && job.eta_seconds !== null && ["Time left", span(job.eta_seconds)],
    !open && job.worked_seconds !== null && ["Duration", span(job.worked_seconds)],
  ];
  return html`
    <section class="card" aria-label="Progress">
      <${Segments} images=${job.images} whole />
      <${Deadline} job=${job} open=${open} />
      <dl class="figures">${facts.filter(Boolean).map(([name, value, part]) => html`
        <div key=${name}><dt class=${part ? `mark ${part}` : ""}>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <${Throughput} throughput=${job.throughput} worked=${open ? null : job.worked_seconds} />
    </section>`;
}

// Images a second. The last interval has not passed while a job runs, and is shorter when it has ended.
function Throughput({ throughput: { interval_seconds: secs, done, failed }, worked }) {
  const length = worked === null ? done.length - 1 : done.length;
  if (length < MIN_POINTS) return null;
  const lastSecs = worked === null ? secs : Math.max(secs / 4, worked - secs * (length - 1));
  const rates = (counts) => counts.slice(0, length).map((each, index) => each / (index === length - 1 ? Math.min(secs, lastSecs) : secs));
  const series = [{ name: "done", values: rates(done), kind: "done" }];
  if (failed.some((each) => each > 0)) series.push({ name: "failed", values: rates(failed), kind: "failed" });
  return html`<${Curve} series=${series} label="Throughput" show=${rate} moment=${(index) => (index ? span(index * secs) : "start")} />`;
}
