// The system: its bottleneck and advice, the load of its steps over the last hour, what it needs, its workers and storage.
import { percent, plural, span } from "../lib/format.js";
import { html } from "../lib/html.js";
import { usePolled } from "../parts/paged.js";
import { Command, Heading, ErrorMessage } from "../parts/small.js";
import { StepLoads } from "../parts/step-loads.js";
import { Storage } from "../parts/storage.js";
import { Workers } from "../parts/workers.js";

const STATUS_MS = 5_000;
const HISTORY_MS = 10_000;
const USAGE_MS = 30_000;

export function SystemView() {
  const { data, error } = usePolled("/v1/steps");
  const { data: status } = usePolled("/v1/status", undefined, STATUS_MS);
  const { data: usage } = usePolled("/v1/usage", undefined, USAGE_MS);
  const { data: history } = usePolled("/v1/steps/history", undefined, HISTORY_MS);
  const busy = data?.advice || data?.steps.some(({ remaining, waiting_for: waiting }) => remaining > 0 || waiting);
  const details = html`
    ${data && history && html`<${StepLoads} steps=${data.steps} history=${history} />`}
    ${status && html`<${Workers} workers=${status.workers} />`}`;
  return html`
    <${Heading}>System<//>
    <${ErrorMessage} error=${error} />
    ${status && html`<${Dependencies} status=${status} />`}
    ${data?.advice && html`<${AdviceCard} advice=${data.advice} />`}
    ${data && !busy && html`
      <section class="card idle"><p class="lead">Idle, all steps are caught up</p>
        ${status && html`<p class="faint">${plural(status.workers.length, "worker")}, version ${status.version}</p>`}</section>
      <details class="rest"><summary>Last hour and workers</summary>${details}</details>`}
    ${busy && details}
    ${usage && html`<${Storage} usage=${usage} />`}`;
}

// The store, the broker and the database: in one line if all is well.
function Dependencies({ status: { dependencies, problems } }) {
  const others = Object.entries(problems);
  return html`
    <p class="dependencies">${dependencies.map(({ name, state }) => html`
      <span key=${name} class=${`dependency ${state === "ok" ? "ok" : state === "away" ? "bad" : "low"}`}>${name} <b>${state === "away" ? "unreachable" : state}</b></span>`)}</p>
    ${dependencies.filter(({ problem }) => problem).map(({ name, problem }) => html`<p key=${name} class="trouble">${problem}</p>`)}
    ${others.map(([name, problem]) => html`<p key=${name} class="trouble">${name}: ${problem}</p>`)}`;
}

const adviceText = (advice) => [
  advice.steps.length > 1 && `with ${advice.steps.slice(1).join(", ")} in the same workers`,
  advice.busy !== null && `${percent(advice.busy)} busy`,
  advice.backlog_seconds !== null && `${span(advice.backlog_seconds)} of work waiting`,
  plural(advice.replicas_now, "replica") + (advice.replicas_more ? ` + ${advice.replicas_more} more` : ""),
  advice.finishes_in_seconds !== null && `finished in ${span(advice.finishes_in_seconds)}`,
  advice.next_step && `next bottleneck: ${advice.next_step}`,
].filter(Boolean).join(" · ");

const AdviceCard = ({ advice }) => html`
  <section class="card answer" aria-labelledby="advice-title">
    <h2 id="advice-title">Bottleneck: ${advice.step}</h2>
    <p class="lead">${adviceText(advice)}</p>
    ${advice.command && html`<${Command} text=${advice.command} label="command" />`}
  </section>`;
