// The form for a new job: images, operations with a preview, options, and the upload.
import { at, get } from "../lib/api.js";
import { keepTrying } from "../lib/events.js";
import { plural } from "../lib/format.js";
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { pairSidecars } from "../lib/files.js";
import { addOutput, documentOf, documentOfOutput, draftOf, emptyDraft } from "../new-job/draft.js";
import { Files } from "../new-job/files.js";
import { Inputs, inputDocument } from "../new-job/inputs.js";
import { JobOptions } from "../new-job/options.js";
import { Outputs } from "../new-job/outputs.js";
import { Presets } from "../new-job/presets.js";
import { Preview } from "../new-job/preview.js";
import { Reading, Results } from "../new-job/reading.js";
import { ApiRequest } from "../new-job/request.js";
import { Submission } from "../new-job/submission.js";
import { Operations } from "../new-job/operations.js";
import { Heading, ErrorMessage } from "../parts/small.js";

const STRIP = 8;  // thumbnails of an earlier job

// `template` is an earlier job to start from, `{ id, again }`; `onTaken` is called once it is in the form.
export function NewJobView({ who, shown, template, onTaken, onUpload, onSent }) {
  const [known, setKnown] = useState(null);
  const [types, setTypes] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    const setOperations = ({ operations }) => setKnown(new Map(operations.map((each) => [each.name, each])));
    keepTrying((signal) => get("/v1/operations", signal), setOperations, setError, stop.signal);
    keepTrying((signal) => get("/v1/formats", signal), setTypes, setError, stop.signal);
    return () => stop.abort();
  }, [who]);  // who logs in again
  return html`<div hidden=${!shown}>
    ${shown && html`<${Heading}>New job<//>`}
    <${ErrorMessage} error=${error} />
    ${known && types && html`<${Form} known=${known} types=${types} who=${who} template=${template} onTaken=${onTaken} onUpload=${onUpload} onSent=${onSent} />`}
  </div>`;
}

function Form({ known, types, who, template, onTaken, onUpload, onSent }) {
  const [from, setFrom] = useState("files");
  const [files, setFiles] = useState([]);
  const [shownItem, setShownItem] = useState(null);
  const [shownOutput, setShownOutput] = useState(null);
  const [inputs, setInputs] = useState([{ kind: "prefix", path: "" }]);
  const [draft, setDraft] = useState(() => emptyDraft(known));
  const [earlier, setEarlier] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    if (!template) return;
    get(`/v1/jobs/${template.id}`).then((job) => {
      setDraft(draftOf(known, job));
      setError(null);
      if (template.again) setEarlier(job);
      setFrom(template.again ? "job" : "files");
    }, setError).finally(onTaken);
  }, [template?.id, template?.again]);
  const change = (part) => setDraft((before) => ({ ...before, ...part }));
  const named = inputs.filter(({ path }) => path.trim()).map(inputDocument);
  const document = documentOf(known, draft, { inputs: named, job: [{ job: earlier?.id }] }[from]);
  const several = draft.outputs.length > 0;
  const previewed = Math.max(0, draft.outputs.findIndex(({ key }) => key === shownOutput));
  const { images } = useMemo(() => pairSidecars(files), [files]);
  const pair = images.find(({ item }) => item === shownItem) || images[0] || null;
  const ready = from === "files" ? images.length > 0 : from === "job" || named.length > 0;
  return html`
    <${ErrorMessage} error=${error} />
    <form class="new-job" onSubmit=${(event) => event.preventDefault()}>
      <div class="column">
        <section class="card" aria-labelledby="inputs-title">
          <div class="card-head">
            <h2 id="inputs-title">Images</h2>
            <div class="switch" role="radiogroup" aria-labelledby="inputs-title">
              <${SourceOption} value="files" now=${from} set=${setFrom}>From this computer<//>
              <${SourceOption} value="inputs" now=${from} set=${setFrom}>From a folder or bucket<//>
              ${earlier && html`<${SourceOption} value="job" now=${from} set=${setFrom}>From a job<//>`}
            </div>
          </div>
          ${from === "files" && html`<${Files} files=${files} types=${types} shown=${pair?.item} onShow=${setShownItem} onChange=${setFiles} />`}
          ${from === "inputs" && html`<${Inputs} inputs=${inputs} onChange=${setInputs} />`}
          ${from === "job" && html`<${EarlierJob} job=${earlier} />`}
        </section>
        <section class="card operations-card" aria-labelledby="operations-title">
          <div class="card-head"><h2 id="operations-title">${several ? "Shared operations" : "Operations"}</h2>
            <${Presets} document=${document} onUse=${(preset) => setDraft({ ...draftOf(known, preset), name: draft.name })} /></div>
          <${Operations} known=${known} chosen=${draft.chosen} onChange=${(chosen) => change({ chosen })}
            empty=${several ? "No shared operations: each output starts from the image." : undefined} />
        </section>
        <section class="card results-card" aria-labelledby="results-title">
          <div class="card-head"><h2 id="results-title">${several ? "Outputs" : "Results"}</h2></div>
          ${several
            ? html`<${Outputs} known=${known} outputs=${draft.outputs} onChange=${(outputs) => change({ outputs })} />`
            : html`<${Results} operation=${known.get("encode")} values=${draft.encode} onChange=${(encode) => change({ encode })} />`}
          <div class="row add"><button type="button" class="quiet" title="Make several results of each image, which is read once"
            onClick=${() => change(addOutput(known, draft))}>+ Add output</button></div>
          <${Reading} operation=${known.get("decode")} values=${draft.decode} onChange=${(decode) => change({ decode })} />
        </section>
        <${JobOptions} draft=${draft} onChange=${change} />
      </div>
      <div class="column aside">
        ${from === "files" && html`<section class="card preview-card" aria-labelledby="preview-title">
          <div class="card-head"><h2 id="preview-title">Preview</h2>
            ${pair && html`<span class="faint name">${pair.item.name}</span>`}</div>
          ${several && html`<div class="row parts"><label for="preview-output">Output</label>
            <select id="preview-output" onChange=${(event) => setShownOutput(Number(event.currentTarget.value))}>
              ${draft.outputs.map(({ key, name }, index) => html`<option key=${key} value=${key} selected=${index === previewed}>${name}</option>`)}
            </select></div>`}
          <${Preview} item=${pair?.item} sidecar=${pair?.sidecar} document=${several ? documentOfOutput(document, previewed) : document} maxBytes=${types.max_file_bytes ?? Infinity} />
        </section>`}
        <${Submission} document=${document} files=${from === "files" ? files : null} images=${from === "job" ? filesOf(earlier) : images.length} ready=${ready}
                       onUpload=${onUpload} onSent=${onSent} />
      </div>
      <${ApiRequest} document=${document} files=${from === "files" ? files : []} withKey=${!who.open} />
    </form>`;
}

// How many files a job has: with several outputs, each of them counts as several images.
const filesOf = ({ images, outputs = [] }) => images.total / (outputs.length || 1);

const EarlierJob = ({ job }) => html`
  <p>The ${plural(filesOf(job), "image")} of <a class="name" href=${`#/jobs/${job.id}`}>${job.name || job.id}</a>, without sending them again.</p>
  <ul class="strip">${Array.from({ length: Math.min(filesOf(job), STRIP) }, (_, index) => html`
    <li key=${index}><img src=${at(`/v1/jobs/${job.id}/images/${index * (job.outputs?.length || 1)}/thumbnail?of=source`)} alt="" loading="lazy" decoding="async" /></li>`)}</ul>`;

const SourceOption = ({ value, now, set, children }) => html`
  <label><input type="radio" name="from" value=${value} checked=${now === value} onChange=${() => set(value)} />
    <span>${children}</span></label>`;
