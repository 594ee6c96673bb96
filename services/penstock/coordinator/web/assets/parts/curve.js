// A curve over time: one filled line for each series, bars for failures, in one scale, with the values under the pointer as text.
import { html, useState } from "../lib/html.js";

const [WIDTH, HEIGHT] = [600, 100];

// `series` are {name, values, kind} of equal length; a null leaves a gap. `moment(index)` and `show(value)` return text.
export function Curve({ series, moment, show, label, most: least = 0 }) {
  const [at, setAt] = useState(null);
  const length = series[0].values.length;
  const most = Math.max(least, ...series.flatMap(({ values }) => values.map((value) => value ?? 0))) || 1;
  const x = (index) => (length > 1 ? (index / (length - 1)) * WIDTH : 0);
  const y = (value) => HEIGHT - (value / most) * (HEIGHT - 4);
  const barWidth = Math.max(2, Math.min(12, (0.6 * WIDTH) / length));
  const look = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    setAt(Math.max(0, Math.min(length - 1, Math.round(((event.clientX - box.left) / box.width) * (length - 1)))));
  };
  const shown = at === null || at >= length ? null : at;
  return html`
    <figure class="curve">
      <figcaption class="row"><span>${label}</span><span class="faint numbers">${shown === null
        ? `up to ${show(most)}`
        : [moment(shown), ...series.map(({ name, values }) => values[shown] !== null && `${show(values[shown])}${name && ` ${name}`}`)].filter(Boolean).join(" · ")}</span></figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${label}, up to ${show(most)}`}
           onPointerMove=${look} onPointerLeave=${() => setAt(null)}>
        ${series.map(({ name, values, kind }) => (kind === "failed" ? values.map((value, index) => value > 0 && html`
          <rect key=${`${name} ${index}`} x=${x(index) - barWidth / 2} width=${barWidth} y=${y(value)} height=${HEIGHT - y(value)} />`) : runsOf(values).map((run) => html`
          <g key=${`${name} ${run[0]}`} class=${kind}>
            <path class="area" d=${`M${x(run[0])},${HEIGHT} ${run.map((index) => `L${x(index)},${y(values[index])}`).join(" ")} L${x(run.at(-1))},${HEIGHT}Z`} />
            <polyline points=${run.map((index) => `${x(index)},${y(values[index])}`).join(" ")} />
          </g>`)))}
        ${shown !== null && html`<line class="cursor" x1=${x(shown)} x2=${x(shown)} y1="0" y2=${HEIGHT} />`}
      </svg>
      <div class="ends faint numbers"><span>${moment(0)}</span><span>${moment(length - 1)}</span></div>
    </figure>`;
}

// The indexes of values without gaps, as lists.
function runsOf(values) {
  const runs = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (index && values[index - 1] !== null) runs.at(-1).push(index);
    else runs.push([index]);
  });
  return runs;
}
