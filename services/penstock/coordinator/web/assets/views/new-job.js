// The form for a new job: images, operations, and the upload.
import { call, get, randomKey } from "../lib/api.js";
import { keepTrying } from "../lib/events.js";
import { bytes, count, plural, span } from "../lib/format.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { givenValues, startValues } from "../lib/schema.js";
import { curlFor } from "../lib/shell.js";
import { Uploading } from "../lib/uploading.js";
import { Fields } from "../parts/fields.js";
import { Operations, make } from "../parts/operations.js";
import { Files, Inputs, inputDocument } from "../parts/inputs.js";
import { Command, Heading, ErrorMessage } from "../parts/small.js";

const SHOWN_EVERY_MS = 200;

// What can be said about each format of results.
const FORMAT_OPTIONS = {
  jpg: ["quality", "progressive", "subsampling"],
  png: ["effort"],
  webp: ["quality", "effort"],
  avif: ["quality", "effort"],
  tiff: [],
  keep: ["quality", "effort", "progressive", "subsampling"],
};
const withoutFormat = (format) => FORMAT_OPTIONS.keep.filter((name) => !FORMAT_OPTIONS[format].includes(name));

export function NewJobView({ who, shown, onSent }) {
  const [known, setKnown] = useState(null);
  const [types, setTypes] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    const setOperations = ({ operations }) => setKnown(new Map(operations.map((each) => [each.name, each])));
    keepTrying((signal) => get("/v1/operations", signal), setOperations, setError, stop.signal);
    keepTrying((signal) => get("/v1/formats", signal), setTypes, setError, stop.signal);
    return () => stop.abort();
  }, []);
  return html`<div hidden=${!shown}>
    ${shown && html`<${Heading}>New job<//>`}
    <${ErrorMessage} error=${error} />
    ${known && types && html`<${Form} known=${known} types=${types} who=${who} onSent=${onSent} />`}
  </div>`;
}

function Form({ known, types, who, onSent }) {
  const [from, setFrom] = useState("files");
  const [files, setFiles] = useState([]);
  const [inputs, setInputs] = useState([{ kind: "prefix", path: "" }]);
  const [chosen, setChosen] = useState(() => (known.has("resize") ? [make(known.get("resize"))] : []));
  const [decode, setDecode] = useState(() => startValues({ ...known.get("decode"), example: null }));
  // without the example's quality: the default is another for each format
  const [encode, setEncode] = useState(() => ({ ...startValues(known.get("encode")), quality: undefined }));
  const [name, setName] = useState("");
  const [names, setNames] = useState("");
  const named = inputs.filter(({ path }) => path.trim()).map(inputDocument);
  const given = (op, values) => ({ op, ...givenValues(known.get(op).parameters, values) });
  const reading = given("decode", decode);
  const operations = [...(Object.keys(reading).length > 1 ? [reading] : []), ...chosen.map(({ op, values }) => given(op, values))];
  const { op: _, ...options } = given("encode", encode);
  for (const name of withoutFormat(encode.format)) delete options[name];
  const document = describe(name, operations, { ...options, names: names.trim() || undefined, format: encode.format }, from === "inputs" ? named : null);
  const ready = from === "files" ? files.length > 0 : named.length > 0;
  return html`
    <form class="new-job" onSubmit=${(event) => event.preventDefault()}>
      <section class="card" aria-labelledby="inputs-title">
        <h2 id="inputs-title">Images</h2>
        <div class="choice" role="radiogroup" aria-labelledby="inputs-title">
          <${SourceOption} value="files" now=${from} set=${setFrom}>From this computer<//>
          <${SourceOption} value="inputs" now=${from} set=${setFrom}>From a folder or bucket<//>
        </div>
        ${from === "files" && html`<${Files} files=${files} types=${types} onChange=${setFiles} />`}
        ${from === "inputs" && html`<${Inputs} inputs=${inputs} onChange=${setInputs} />`}
        <div class="field">
          <label for="job-name">Name of the job <span class="faint">(optional)</span></label>
          <input id="job-name" type="text" maxlength="200" value=${name}
                 onInput=${(event) => setName(event.currentTarget.value)} />
        </div>
        <details>
          <summary>Names of results</summary>
          <div class="field">
            <label for="job-names">Template <span class="faint">(optional)</span></label>
            <input id="job-names" type="text" maxlength="200" value=${names} placeholder="{folder}/{stem}-{part}.{ext}"
                   aria-describedby="job-names-help" spellcheck=${false}
                   onInput=${(event) => setNames(event.currentTarget.value)} />
            <p class="help" id="job-names-help">A template of {folder}, {stem}, {part}, {width}, {height} and {ext}.</p>
          </div>
        </details>
      </section>
      <section class="card" aria-labelledby="operations-title">
        <h2 id="operations-title">Operations</h2>
        <details class="operation first">
          <summary>decode <span class="faint">always first</span></summary>
          <${Fields} operation=${{ ...known.get("decode"), example: null }} values=${decode} onChange=${setDecode} prefix="decode" />
        </details>
        <${Operations} known=${known} chosen=${chosen} onChange=${setChosen} />
        <div class="operation last">
          <h3>encode <span class="faint">always last</span></h3>
          <${Fields} operation=${known.get("encode")} values=${encode} onChange=${setEncode} prefix="encode"
                     without=${withoutFormat(encode.format)} />
        </div>
      </section>
      <${Submission} document=${document} files=${from === "files" ? files : null} types=${types} ready=${ready}
                     onSent=${onSent} />
      <${Commands} document=${document} files=${files} withKey=${!who.open} />
    </form>`;
}

const SourceOption = ({ value, now, set, children }) => html`
  <label><input type="radio" name="from" value=${value} checked=${now === value} onChange=${() => set(value)} />
    <span>${children}</span></label>`;

// The job document, without the server's defaults.
function describe(name, operations, { format, ...options }, inputs) {
  return {
    ...(name.trim() && { name: name.trim() }),
    operations,
    output: format,
    ...options,
    ...(inputs && { inputs }),
  };
}

function Submission({ document, files, types, ready, onSent }) {
  const [progress, setProgress] = useState(null);
  const [error, setError] = useState(null);
  const [estimate, setEstimate] = useState(null);
  const held = useRef({});
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const sending = Boolean(progress);
  useEffect(() => {
    if (!sending) return undefined;
    const confirmLeave = (event) => event.preventDefault();  // the browser asks before it leaves the page
    addEventListener("beforeunload", confirmLeave);
    return () => removeEventListener("beforeunload", confirmLeave);
  }, [sending]);
  useEffect(() => setEstimate(null), [JSON.stringify(document)]);

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
      if (failure.name !== "AbortError") setError(failure);
      if (failure.status === 404) held.current = {};  // the upload is gone: send everything again
      setProgress(null);
    }
  };
  const upload = async () => {
    if (held.current.files !== files) held.current = { files, uploading: new Uploading(files) };
    const { uploading } = held.current;
    await uploading.check(types, stop.current.signal);
    confirmRefused(uploading);
    const shown = setInterval(() => setProgress(progressOf(uploading)), SHOWN_EVERY_MS);
    const id = await uploading.run(stop.current.signal).finally(() => clearInterval(shown));
    setProgress(progressOf(uploading));
    confirmRefused(uploading);
    return id;
  };
  const check = () => {
    setError(null);
    call("POST", "/v1/jobs?dry_run=true", { json: document }).then(setEstimate, setError);
  };

  return html`
    <section class="card" aria-label="Submit">
      <div class="row">
        <button type="submit" class="main" aria-disabled=${!ready || sending}
                onClick=${(event) => ready && !sending && event.currentTarget.form.reportValidity() && submit()}>Submit job</button>
        ${!files && html`<button type="button" class="quiet" aria-disabled=${!ready}
                                 onClick=${() => ready && check()}>Check first</button>`}
        ${progress && html`<button type="button" class="quiet" onClick=${() => stop.current.abort()}>Stop sending</button>`}
        ${!ready && html`<span class="faint">Choose images first.</span>`}
      </div>
      ${progress && html`<${Progress} ...${progress} />`}
      ${estimate && html`<${Estimate} estimate=${estimate} />`}
      <${ErrorMessage} error=${error} />
    </section>`;
}

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

function Estimate({ estimate: { images, failing, results, steps } }) {
  const secs = steps.every(({ seconds }) => seconds !== null) && steps.reduce((sum, { seconds }) => sum + seconds, 0);
  return html`<p role="status">
    ${plural(images, "image")}, ${results === null ? "results by their sizes" : plural(results, "result")}${failing ? `; ${count(failing)} will fail` : ""}.
    ${secs ? ` One worker needs ${span(secs)}.` : ""}</p>`;
}

function Commands({ document, files, withKey }) {
  const curl = useMemo(() => curlFor(document, files, location.origin, withKey), [document, files]);
  return html`
    <details class="card">
      <summary>As JSON and shell command</summary>
      <${Command} text=${JSON.stringify(document, null, 2)} label="JSON" />
      <${Command} text=${curl} label="curl command" />
    </details>`;
}
