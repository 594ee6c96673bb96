// A job's operations, each with the images before it, in it and past it.
import { count, operationText, span } from "../lib/format.js";
import { html } from "../lib/html.js";

const PARTS = ["done", "running", "waiting", "failed"];

export const Steps = ({ steps, operations, bottleneck, total }) => html`
  <section class="card" aria-labelledby="steps-title">
    <h2 id="steps-title">Steps</h2>
    <ol class="steps">
      ${steps.map((step, index) => html`
        <li key=${index} class=${step.step === bottleneck ? "held" : ""}>
          <div class="step-head"><h3>${operationText(operations[index])}</h3>
            ${step.step === bottleneck && html`<span class="badge held">holds the job back</span>`}
            <span class="faint">${paceOf(step)}</span></div>
          <${Bar} step=${step} total=${total} />
          <p class="numbers">${PARTS.map((part) => html`<span key=${part} class=${`mark ${part}`}>${count(step[part])} ${part}</span>`)}</p>
        </li>`)}
    </ol>
  </section>`;

const paceOf = ({ done, work_seconds: work, wait_seconds: wait }) =>
  done && work ? `${span(work / done)} work, ${span(wait / done)} waiting an image` : "";

// What the numbers below it say, for the eye alone.
const Bar = ({ step, total }) => html`
  <div class="bar-of" aria-hidden="true">
    ${PARTS.map((part) => html`<span key=${part} class=${part} style=${{ width: `${(100 * step[part]) / Math.max(total, 1)}%` }} />`)}
  </div>`;
