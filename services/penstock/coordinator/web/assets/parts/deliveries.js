// Deliveries of a job's webhook events with all attempts, latest event first.
import { moment, plural, span } from "../lib/format.js";
import { html } from "../lib/html.js";
import { usePolled } from "./paged.js";
import { Badge, ErrorMessage } from "./small.js";

const isWaiting = ({ state }) => state === "waiting";

export function Deliveries({ webhook, open }) {
  const { data, error } = usePolled(webhook.deliveries, (data) => (data ? data.events.some(isWaiting) : !open));
  return html`
    <section class="card deliveries" aria-labelledby="deliveries-title">
      <h2 id="deliveries-title">Webhook</h2>
      <p class="name">To ${webhook.receiver}${open ? ", when the job has ended." : ""}</p>
      <${ErrorMessage} error=${error} />
      ${data?.events.map((event, index) => html`<${WebhookEvent} key=${event.id} event=${event} newest=${index === 0} />`)}
    </section>`;
}

const WebhookEvent = ({ event, newest }) => html`
  <details open=${newest}>
    <summary>job.${event.job_state} <${Badge} state=${event.state} />${" "}
      <span class="faint">${attemptsOf(event)}</span></summary>
    <ol>${event.deliveries.map((attempt) => html`
      <li key=${attempt.at}>${moment(attempt.at, "medium")}, ${span(attempt.seconds)}:
        ${" "}<span class="name">${attempt.error ?? `status ${attempt.status}`}</span></li>`)}
    </ol>
  </details>`;

function attemptsOf({ deliveries, state, next_at: nextAt }) {
  const made = deliveries.length ? plural(deliveries.length, "attempt") : "no attempt yet";
  return state === "waiting" && deliveries.length ? `${made}, again at ${moment(nextAt, "medium")}` : made;
}
