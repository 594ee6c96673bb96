// A job's progress in the tab's icon, a notification when it ends, and the button that asks for permission.
import { ask, canAsk, notify, showProgress } from "../lib/attention.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { countsText } from "./segments.js";

export function useAttention(job, open) {
  const wasOpen = useRef(false);
  const { total, done, failed, cancelled } = job?.images || {};
  const share = open && total ? (done + failed + cancelled) / total : null;
  useEffect(() => {
    showProgress(share);
  }, [share]);
  useEffect(() => () => showProgress(null), []);
  useEffect(() => {
    if (job && wasOpen.current && !open) notify(`${job.name || job.id}: ${job.state}`, countsText(job.images), job.id);
    wasOpen.current = open;
  }, [open]);
}

export function NotifyButton() {
  const [asked, setAsked] = useState(!canAsk());
  if (asked) return null;
  return html`<button type="button" class="quiet" onClick=${() => ask().finally(() => setAsked(true))}>Notify me when it ends</button>`;
}
