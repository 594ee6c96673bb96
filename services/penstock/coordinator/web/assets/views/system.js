// The system: steps in the order that work flows, and which of them holds the others back.
import { get } from "../lib/api.js";
import { count, percent, plural, span } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Command, Heading, Trouble, usePolled } from "../parts/small.js";

const LOOK_MS = 2000;
const GOALS = [[60, "1 minute"], [300, "5 minutes"], [900, "15 minutes"], [3600, "1 hour"]];

export function SystemView() {
  const { data, error } = usePolled((signal) => get("/v1/steps", signal), LOOK_MS, "steps");
  const slowest = data?.steps.find(({ bottleneck }) => bottleneck);
  return html`
    <${Heading}>System<//>
    <${Trouble} error=${error} />
    ${data && (slowest ? html`<${Answer} step=${slowest} />` : html`
      <section class="card"><p class="lead">Nothing waits: no step holds the others back.</p></section>`)}
    ${data && html`<ol class="flow" aria-label="Steps">${data.steps.map((step) => html`<${Step} key=${step.name} step=${step} />`)}</ol>`}`;
}

const waitOf = ({ backlog_seconds: secs, workers }) => (secs === null ? null : secs / Math.max(workers, 1));

// Workers that do what is left within `goalSecs`, which are never fewer than there are.
export const wanted = ({ backlog_seconds: secs, workers }, goalSecs) =>
  Math.max(workers, 1, Math.ceil((secs || 0) / goalSecs));

function Answer({ step }) {
  const [goalSecs, setGoalSecs] = useState(300);
  const replicas = replicasFor(step, goalSecs);
  const goal = GOALS.find(([secs]) => secs === goalSecs)[1];
  const more = replicas - replicasOf(step);
  return html`
    <section class="card answer" aria-labelledby="answer-title">
      <h2 id="answer-title"><strong>${step.name}</strong> holds the system back</h2>
      <p class="lead">${busy(step)}${plural(step.remaining, "image")} to go, ${span(step.backlog_seconds)} of work:
        ${step.workers ? ` ${span(waitOf(step))} with ${plural(step.workers, "worker")}.` : " it has no worker."}</p>
      <div class="row">
        <label for="goal">Be done in</label>
        <select id="goal" onChange=${(event) => setGoalSecs(Number(event.currentTarget.value))}>
          ${GOALS.map(([secs, text]) => html`<option key=${secs} value=${secs} selected=${secs === goalSecs}>${text}</option>`)}
        </select>
        <span role="status">${more > 0 ? `${plural(more, "more replica")}: ${goal}.` : "That is what its workers do now."}</span>
      </div>
      <${Command} text=${`kubectl scale deployment/penstock-${step.name} --replicas=${replicas}`} label="command" />
    </section>`;
}

const busy = ({ utilisation }) => (utilisation === null ? "" : `${percent(utilisation)} busy, `);

const replicasOf = ({ replicas, workers }) => replicas.desired ?? workers;

// A replica may hold several workers.
function replicasFor(step, goalSecs) {
  const each = step.replicas.ready ? Math.max(1, step.workers / step.replicas.ready) : 1;
  return Math.max(replicasOf(step), Math.ceil(wanted(step, goalSecs) / each));
}

const Step = ({ step }) => html`
  <li class=${`card step ${step.bottleneck ? "held" : ""}`}>
    <div class="step-head"><h2>${step.name}</h2>
      ${step.bottleneck && html`<span class="badge held">holds back</span>`}</div>
    <meter min="0" max="1" value=${step.utilisation ?? 0} aria-label=${`${step.name} is busy`}></meter>
    <dl class="figures">
      <div><dt>Busy</dt><dd>${percent(step.utilisation)}</dd></div>
      <div><dt>${step.replicas.desired === null ? "Workers" : "Replicas"}</dt>
        <dd>${step.replicas.ready}${step.replicas.desired === null ? "" : ` of ${step.replicas.desired}`}</dd></div>
      <div><dt>Backlog</dt><dd>${step.backlog_seconds === 0 ? "none" : span(step.backlog_seconds)}</dd></div>
      <div><dt>Images to go</dt><dd>${count(step.remaining)}</dd></div>
      <div><dt>In queue</dt><dd>${count(step.ready)}</dd></div>
      <div><dt>In work</dt><dd>${count(step.in_flight)}</dd></div>
      <div><dt>An image takes</dt><dd>${span(step.seconds_per_image)}</dd></div>
    </dl>
  </li>`;
