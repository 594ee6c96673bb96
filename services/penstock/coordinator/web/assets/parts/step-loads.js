// Every step: how busy it is, its backlog, throughput and replicas, now and over the last hour.
import { count, percent, rate, span } from "../lib/format.js";
import { html } from "../lib/html.js";

const [WIDTH, HEIGHT] = [200, 32];
const POINTS = 360;

export function StepLoads({ steps, history }) {
  const loads = new Map(history.steps.map((each) => [each.name, each]));
  const wasUsed = (step) => step.remaining > 0 || step.ready > 0 || step.waiting_for
    || loads.get(step.name)?.images_per_second.some((value) => value > 0);
  const used = steps.filter(wasUsed);
  const others = steps.filter((step) => !wasUsed(step));
  return html`
    <section class="card" aria-labelledby="loads-title">
      <div class="row"><h2 id="loads-title">Steps</h2><span class="faint">now, and over the last hour</span></div>
      <ol class="loads" aria-label="Steps">${used.map((step) => html`<${Step} key=${step.name} step=${step} load=${loads.get(step.name)} />`)}</ol>
      ${others.length > 0 && html`<p class="faint">${used.length ? "Not used" : "No step was used"} in the last hour${used.length ? `: ${others.map(({ name }) => name).join(", ")}` : ""}.</p>`}
    </section>`;
}

function Step({ step, load }) {
  const { replicas } = step;
  const known = replicas.desired !== null;
  const cells = [
    ["Busy", percent(step.utilisation), load?.utilisation, 1],
    ["Backlog", backlogOf(step), load?.backlog_seconds],
    ["Throughput", step.images_per_second ? rate(step.images_per_second) : "–", load?.images_per_second],
    [known ? "Replicas" : "Workers", known ? `${replicas.ready} of ${replicas.desired}` : count(replicas.ready), load?.replicas],
  ];
  return html`
    <li class=${`step ${step.bottleneck ? "held" : ""}`}>
      <div class="step-name"><h3>${step.name}</h3>
        ${step.bottleneck && html`<span class="badge held">bottleneck</span>`}
        ${step.seconds_per_image !== null && html`<span class="faint">${span(step.seconds_per_image)} per image</span>`}
        ${step.waiting_for && html`<span class="badge failed">waits for ${step.waiting_for}</span>`}</div>
      ${cells.map(([name, value, values, most]) => html`
        <div key=${name} class="load"><span class="faint">${name}</span> <b class="numbers">${value}</b>
          <${Sparkline} values=${values || []} least=${most} /></div>`)}
    </li>`;
}

const backlogOf = ({ backlog_seconds: secs, remaining }) =>
  (secs ? `${span(secs)}, ${count(remaining)} images` : remaining ? `${count(remaining)} images` : "none");

// The last hour, its end at the right. Decoration: the numbers stand beside it.
function Sparkline({ values, least = 0 }) {
  const most = Math.max(least, ...values.map((value) => value ?? 0)) || 1;
  const first = POINTS - values.length;
  const points = values.map((value, index) => [((first + index) / (POINTS - 1)) * WIDTH, HEIGHT - 1 - ((value ?? 0) / most) * (HEIGHT - 3)].map((at) => at.toFixed(1)).join(","));
  return html`<svg class="sparkline" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
    ${points.length > 1 && html`<path d=${`M${points[0].split(",")[0]},${HEIGHT} L${points.join(" L")} L${WIDTH},${HEIGHT}Z`} /><polyline points=${points.join(" ")} />`}</svg>`;
}
