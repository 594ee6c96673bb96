// Presets: settings of the form that the server keeps under a name, per API key.
import { call, get } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/html.js";
import { Chips } from "../parts/chips.js";
import { Confirm, useDialog } from "../parts/dialog.js";
import { ErrorMessage } from "../parts/small.js";

export function Presets({ document, onUse }) {
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  const [error, setError] = useState(null);
  const use = async (preset) => {
    close();
    try {
      onUse(await inLongForm(preset.document));
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  };
  return html`
    <div><button type="button" class="quiet" aria-haspopup="dialog" onClick=${() => setOpen(true)}>Presets</button>
    <${ErrorMessage} error=${error} /></div>
    ${open && html`<${PresetsDialog} document=${document} use=${use} close=${close} />`}`;
}

function PresetsDialog({ document: { inputs: _, name: _name, ...kept }, use, close }) {
  const dialog = useDialog();
  const [presets, setPresets] = useState(null);
  const [error, setError] = useState(null);
  const [name, setName] = useState("");
  const [doomed, setDoomed] = useState(null);
  const load = () => get("/v1/presets").then(({ presets: found }) => setPresets(found), setError);
  useEffect(() => {
    load();
  }, []);
  const change = (method, path, json) => call(method, path, { json }).then(() => {
    setError(null);
    load();
    return true;
  }, setError);
  const save = (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (!name.trim()) return;
    if (name.includes("/") || /^\.\.?$/.test(name.trim())) {
      setError(new Error("The name of a preset cannot have a slash, nor be . or .. alone."));
      return;
    }
    change("PUT", `/v1/presets/${encodeURIComponent(name.trim())}`, kept).then((saved) => saved && setName(""));
  };
  const isKnown = presets?.some((preset) => preset.name === name.trim());
  return html`
    <dialog ref=${dialog} class="presets" aria-labelledby="presets-title" onClose=${close}>
      <div class="card-head"><h2 id="presets-title">Presets</h2>
        <button type="button" class="icon" aria-label="Close" onClick=${close}>×</button></div>
      <${ErrorMessage} error=${error} />
      ${presets && !presets.length && html`<p class="empty">No presets yet. Save the operations and options of the form under a name.</p>`}
      <ul>
        ${(presets || []).map((preset) => html`
          <li key=${preset.name}>
            <div><b class="name">${preset.name}</b><${Chips} operations=${longForms(preset.document)} />
              ${(preset.document.outputs ?? []).map((output) => html`
                <p key=${output.name} class="facts"><b class="name">${output.name}</b><${Chips} operations=${longForms(output)} /></p>`)}</div>
            <button type="button" aria-label=${`Use ${preset.name}`} onClick=${() => use(preset)}>Use</button>
            <button type="button" class="icon" aria-label=${`Delete ${preset.name}`} title="Delete" onClick=${() => setDoomed(preset)}>×</button>
          </li>`)}
      </ul>
      <div class="row save">
        <label for="preset-name" class="hidden">Name of the preset</label>
        <input id="preset-name" type="text" maxlength="100" value=${name} placeholder="Name, such as For the web"
               onInput=${(event) => setName(event.currentTarget.value)} onKeyDown=${(event) => event.key === "Enter" && save(event)} />
        <button type="button" class="main" aria-disabled=${!name.trim()} onClick=${save}>${isKnown ? "Replace" : "Save"}</button>
      </div>
    </dialog>
    ${doomed && html`<${Confirm} title=${`Delete ${doomed.name}?`} no="Keep it" yes="Delete it"
      text="Its operations and options will be deleted for good. Jobs made with it stay."
      act=${() => change("DELETE", doomed.url)} close=${() => setDoomed(null)} />`}`;
}

// Operations that other programs saved may be short, `["resize", "inside:512x512"]`; the server knows what they mean.
async function inLongForm(json) {
  const lists = [json, ...(json.outputs ?? [])].map(({ operations }) => operations ?? []);
  if (lists.flat().every(({ op }) => op)) return json;
  const { operations, outputs } = await call("POST", "/v1/jobs?dry_run=true&images=1", { json });
  return { ...json, operations, outputs };
}

const longForms = ({ operations = [], output }) => [
  ...operations.map((operation) => (Array.isArray(operation) ? { op: operation[0], value: operation[1] } : operation)),
  ...(output ? [{ op: "encode", format: output }] : []),
];
