// The system: its steps in processing order, the bottleneck, and advice.
import { count, percent, plural, span } from "../lib/format.js";
import { html } from "../lib/html.js";
import { usePolled } from "../parts/paged.js";
import { Command, Heading, ErrorMessage } from "../parts/small.js";

export function SystemView() {
  const { data, error } = usePolled("/v1/steps");
  return html`
    <${Heading}>System<//>
    <${ErrorMessage} error=${error} />
    ${data && (data.advice ? html`<${AdviceCard} advice=${data.advice} />` : html`
      <section class="card"><p class="lead">No work is waiting, so there is no bottleneck.</p></section>`)}
    ${data && html`<ol class="flow" aria-label="Steps">${data.steps.map((step) => html`<${Step} key=${step.name} step=${step} />`)}</ol>`}`;
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

const Step = ({ step }) => html`
  <li class=${`card step ${step.bottleneck ? "held" : ""}`}>
    <div class="step-head"><h2>${step.name}</h2>
      ${step.bottleneck && html`<span class="badge held">bottleneck</span>`}</div>
    <meter min="0" max="1" value=${step.utilisation ?? 0} aria-label=${`${step.name} is busy`}></meter>
    <dl class="figures">
      <div><dt>Busy</dt><dd>${percent(step.utilisation)}</dd></div>
      <div><dt>${step.replicas.desired === null ? "Workers" : "Replicas"}</dt>
        <dd>${step.replicas.ready}${step.replicas.desired === null ? "" : ` of ${step.replicas.desired}`}</dd></div>
      <div><dt>Backlog</dt><dd>${step.backlog_seconds === 0 ? "none" : span(step.backlog_seconds)}</dd></div>
      <div><dt>Images left</dt><dd>${count(step.remaining)}</dd></div>
      <div><dt>Chunks queued</dt><dd>${count(step.ready)}</dd></div>
      <div><dt>Chunks in flight</dt><dd>${count(step.in_flight)}</dd></div>
      <div><dt>Time per image</dt><dd>${span(step.seconds_per_image)}</dd></div>
    </dl>
  </li>`;
