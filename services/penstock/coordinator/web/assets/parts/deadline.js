// A job's deadline: the time until it as a bar, with the time used and the expected end, beside the images' bar.
import { moment, span } from "../lib/format.js";
import { html } from "../lib/html.js";

export function Deadline({ job, open }) {
  if (!job.deadline) return null;
  const [start, due] = [job.created_at, job.deadline].map(Date.parse);
  const end = Date.parse(job.finished_at || job.forecast?.finishes_at || "");
  const length = Math.max(due, end || due) - start;
  const share = (at) => `${Math.min(100, Math.max(0, (100 * (at - start)) / length))}%`;
  const used = open ? Date.now() : end;
  const text = describe(job, open, due, end);
  return html`
    <div class="timeline" role="img" aria-label=${text}>
      <span class="used" style=${{ width: share(used) }} />
      ${end > 0 && html`<span class=${`end ${end > due ? "late" : ""}`} style=${{ left: share(end) }} title=${open ? "Expected end" : "End"} />`}
      <span class="due" style=${{ left: share(due) }} title="Deadline" />
    </div>
    <p class="help">${text}</p>`;
}

function describe({ deadline, forecast }, open, due, end) {
  const until = `Deadline ${moment(deadline)}`;
  if (!open) return end ? `${until}: ${end <= due ? "met" : "missed"}` : until;
  if (!end) return forecast?.feasible === false ? `${until}: cannot be met` : `${until}: not predicted yet`;
  const margin = span(Math.round(Math.abs(due - end) / 1000));
  const replicas = Object.entries(forecast.replicas).map((each) => each.join(" ")).join(", ");
  return `${until}: expected ${margin} ${end <= due ? "before" : "after"} it${replicas && `, with ${replicas}`}`;
}
