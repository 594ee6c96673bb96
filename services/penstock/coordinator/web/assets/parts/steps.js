// A job's operations with the images before, in and past each of them; those that the same workers do are one group.
import { count, operationText, span } from "../lib/format.js";
import { html } from "../lib/html.js";
import { countGroups } from "../lib/mosaic.js";

const PARTS = ["done", "running", "waiting", "failed"];

export function Steps({ job: { operations, outputs = [], steps, bottleneck, images: { total } } }) {
  const all = [...stepsOf(operations), ...outputs.flatMap((output) => output.operations)];
  const groups = groupsOf(steps.map((step, index) => ({ ...step, text: operationText(all[index]) })));
  const shown = PARTS.filter((part) => groups.some((group) => group[part] > 0));
  return html`
    <section class="card" aria-labelledby="steps-title">
      <div class="row"><h2 id="steps-title">Steps</h2>
        <p class="legend">${shown.map((part) => html`<span key=${part} class=${`mark ${part}`}>${part}</span>`)}</p></div>
      <ol class="steps">
        ${groups.map((group, index) => {
          const isBottleneck = group.steps.some(({ step }) => step === bottleneck);
          return html`
            <li key=${index} class=${isBottleneck ? "held" : ""}>
              <div class="step-head"><h3>${group.output && `${group.output}: `}${group.steps.map(({ text }) => text).join(" → ")}</h3>
                ${isBottleneck && html`<span class="badge held">bottleneck</span>`}
                <span class="numbers faint">${countsOf(group)}</span></div>
              <${Bar} group=${group} total=${totalOf(group, steps, outputs, total)} />
              <p class="numbers faint">${timesOf(group)}</p>
            </li>`;
        })}
      </ol>
    </section>`;
}

// The operations with steps: with groups, the last ones are theirs.
export function stepsOf(operations) {
  const all = operations.filter(({ op }) => op !== "decode");
  const gather = all.findIndex(({ op }) => op === "gather");
  return gather === -1 ? all : [...all.slice(0, gather), { op: all[gather].step, ...all[gather].params }, all[gather - 1]];
}

// How many images pass the steps of a group of them: those of an output, groups of images, or all.
function totalOf({ output }, steps, outputs, total) {
  if (outputs.length) return output ? total / outputs.length : total;
  const groups = countGroups({ steps });
  return output ? groups : total - groups;
}

// Steps joined to those before them make one group, whose images are done after its last step.
export function groupsOf(steps) {
  const groups = [];
  for (const step of steps) {
    if (step.joined && groups.length) groups.at(-1).push(step);
    else groups.push([step]);
  }
  const sum = (some, name) => some.reduce((all, step) => all + step[name], 0);
  return groups.map((some) => ({
    steps: some,
    output: some[0].output,
    done: some.at(-1).done,
    waiting: sum(some, "waiting"),
    running: sum(some, "running"),
    failed: sum(some, "failed"),
  }));
}

const countsOf = (group) => PARTS.filter((part) => group[part] > 0).map((part) => `${count(group[part])} ${part}`).join(" · ");

// `4.1 ms waiting · 12 ms per image: resize 9 ms, encode 3 ms`
function timesOf({ steps }) {
  const [first] = steps;
  const timed = steps.filter(({ done, failed, work_seconds: work }) => done + failed && work);
  if (!timed.length) return "";
  const per = ({ done, failed, work_seconds: work }) => work / (done + failed);
  const total = timed.reduce((all, step) => all + per(step), 0);
  const each = timed.length > 1 ? `: ${timed.map((step) => `${step.step} ${span(per(step))}`).join(", ")}` : "";
  const waited = first.wait_seconds / Math.max(1, first.done + first.failed);
  return `${span(total)} per image${each}${waited > 0 ? `, after ${span(waited)} of waiting` : ""}`;
}

// The numbers beside it as a bar; hidden from screen readers.
const Bar = ({ group, total }) => html`
  <div class="bar-of" aria-hidden="true">
    ${PARTS.map((part) => group[part] > 0 && html`<span key=${part} class=${part} style=${{ width: `${(100 * group[part]) / Math.max(total, 1)}%` }} />`)}
  </div>`;
