// A job's operations with the images before, in and past each of them.
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
            ${step.step === bottleneck && html`<span class="badge held">bottleneck</span>`}
            <span class="faint">${paceOf(step)}</span></div>
          <${Bar} step=${step} total=${total} />
          <p class="numbers">${PARTS.filter((part) => step[part] > 0).map((part) => html`<span key=${part} class=${`mark ${part}`}>${count(step[part])} ${part}</span>`)}</p>
        </li>`)}
    </ol>
  </section>`;

const paceOf = ({ done, work_seconds: work, wait_seconds: wait }) =>
  done && work ? `${span(work / done)} work and ${span(wait / done)} waiting per image` : "";

// The numbers below as a bar; hidden from screen readers.
const Bar = ({ step, total }) => html`
  <div class="bar-of" aria-hidden="true">
    ${PARTS.map((part) => html`<span key=${part} class=${part} style=${{ width: `${(100 * step[part]) / Math.max(total, 1)}%` }} />`)}
  </div>`;
