// The summary of a job that stays in view: what it will do, how long that takes, and the upload.
import { call, randomKey } from "../lib/api.js";
import { bytes, count, plural, span } from "../lib/format.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { Uploading } from "../lib/uploading.js";
import { pause } from "../lib/waiting.js";
import { ErrorMessage } from "../parts/small.js";

const SHOWN_EVERY_MS = 200;
const TYPING_MS = 350;
const MAX_COUNTED = 5_000;  // images that the server looks at for each estimate

export function Submission({ document, files, images, ready, onUpload, onSent }) {
  const [progress, setProgress] = useState(null);
  const [error, setError] = useState(null);
  const [estimate, refusal, check] = useEstimate(document, files ? `&images=${images}` : "", Boolean(images > 0 && (files || images <= MAX_COUNTED)));
  const held = useRef({});
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const sending = Boolean(progress);
  useEffect(() => onUpload(files ? progress : null), [progress]);
  useEffect(() => {
    if (!sending) return undefined;
    const confirmLeave = (event) => event.preventDefault();  // the browser asks before it leaves the page
    addEventListener("beforeunload", confirmLeave);
    return () => removeEventListener("beforeunload", confirmLeave);
  }, [sending]);
  useEffect(() => setError(null), [JSON.stringify(document), files]);

  const submit = async () => {
    setError(null);
    setProgress({ text: "Sending" });
    stop.current = new AbortController();
    try {
      const json = files ? { ...document, inputs: [{ upload: await upload() }] } : document;
      const sent = JSON.stringify(json);
      if (held.current.sent !== sent) Object.assign(held.current, { sent, key: randomKey() });
      onSent(await call("POST", "/v1/jobs", { json, headers: { "Idempotency-Key": held.current.key } }));
    } catch (failure) {
      const isInterrupted = [0, 401].includes(failure.status);
      if (failure.name !== "AbortError") setError(isInterrupted ? new Error(`${failure.message}. Submit again to continue.`) : failure);
      if (failure.status === 404) held.current = {};  // the upload is gone: send everything again
      setProgress(null);
    }
  };
  const upload = async () => {
    const { signal } = stop.current;
    if (held.current.files !== files) {
      await call("POST", `/v1/jobs?dry_run=true&images=${images}`, { json: document, signal });  // refuses before anything is sent
      held.current = { files, uploading: new Uploading(files) };
    }
    const { uploading } = held.current;
    const shown = setInterval(() => setProgress(progressOf(uploading)), SHOWN_EVERY_MS);
    const id = await uploading.run(signal).finally(() => clearInterval(shown));
    setProgress(progressOf(uploading));
    confirmRefused(uploading);
    return id;
  };

  return html`
    <section class="card summary" aria-label="Submit">
      <p class="estimate" role="status">${ready ? summary(estimate, images) : "Choose images first."}</p>
      <div class="row">
        <button type="submit" class="main" aria-disabled=${!ready || sending}
                onClick=${(event) => ready && !sending && isComplete(event.currentTarget.form) && submit()}>Submit job</button>
        ${!files && html`<button type="button" class="quiet" aria-disabled=${!ready} onClick=${() => ready && check()}>Check first</button>`}
        ${progress && html`<button type="button" class="quiet" onClick=${() => stop.current.abort()}>Stop sending</button>`}
      </div>
      ${progress && html`<${Progress} ...${progress} />`}
      <${ErrorMessage} error=${error || (ready && refusal)} />
    </section>`;
}

// Whether all fields are valid. The browser says what is wrong with the first that is not, for which it must be unfolded.
function isComplete(form) {
  const invalid = form.querySelector(":invalid");
  for (let fold = invalid?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  return form.reportValidity();
}

// What the job would do, asked at each change for files that are here and for small earlier jobs; for other inputs of the
// server, which may be many, when the user asks.
function useEstimate(document, query, asksAlways) {
  const [seen, setSeen] = useState({});
  const json = JSON.stringify(document);
  const ask = (signal) => call("POST", `/v1/jobs?dry_run=true${query}`, { json: document, signal }).then(
    (estimate) => signal?.aborted || setSeen({ json, query, estimate }),
    (refusal) => signal?.aborted || setSeen({ json, query, refusal }),
  );
  useEffect(() => {
    if (!asksAlways) return undefined;
    const stop = new AbortController();
    pause(TYPING_MS, stop.signal).then(() => stop.signal.aborted || ask(stop.signal));
    return () => stop.abort();
  }, [json, query, asksAlways]);
  const isCurrent = seen.json === json && seen.query === query;
  return [isCurrent ? seen.estimate : null, isCurrent ? seen.refusal : null, () => ask()];
}

// `30 images → 120 results, about 3 s`
function summary(estimate, images) {
  if (!estimate) return images ? plural(images, "image") : "";
  const { images: total, outputs, failing, results, seconds, steps } = estimate;
  const files = total / (outputs.length || 1);
  const several = outputs.length ? `, ${plural(outputs.length, "output")} each` : "";
  const oneWorker = steps.every((step) => step.seconds !== null) ? steps.reduce((sum, step) => sum + step.seconds, 0) : null;
  const time = seconds ?? oneWorker;
  return html`<b>${plural(files, "image")}${several} → ${results === null ? "results by their sizes" : plural(results, "result")}</b>${time !== null && total
    ? `, ${duration(time)}` : ""}${failing ? `; ${count(failing)} will fail` : ""}`;
}

const duration = (secs) => (secs < 1 ? "less than a second" : `about ${secs < 10 ? `${Math.ceil(secs)} s` : span(secs)}`);

// Reports refused files once; the next attempt continues without them.
function confirmRefused(uploading) {
  const added = uploading.refused.slice(uploading.confirmed ?? 0);
  uploading.confirmed = uploading.refused.length;
  if (!added.length) return;
  const { name, reason } = added[0];
  throw new Error(`${plural(added.length, "file was", "files were")} refused, the first was ${name}: `
    + `${reason}. Submit again to continue without them.`);
}

const progressOf = ({ sentBytes, total, sentFiles, files }) => ({
  text: `${count(sentFiles)} of ${plural(files.length, "file")}, ${bytes(sentBytes)} of ${bytes(total)}`,
  share: total ? sentBytes / total : 1,
});

const Progress = ({ text, share }) => html`
  <div class="sending"><progress aria-label="Files sent" max="1" value=${share}></progress><p role="status">${text}</p></div>`;
