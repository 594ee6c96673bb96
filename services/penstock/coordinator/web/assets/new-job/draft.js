// A draft: what the form holds of a job, besides its images. It becomes a job document, and can be made from one.
import { givenValues, startValues } from "../lib/schema.js";
import { copy, make, makeFrom } from "./operations.js";

// What can be said about each format of results.
const FORMAT_OPTIONS = {
  jpg: ["quality", "progressive", "subsampling"],
  png: ["effort"],
  webp: ["quality", "effort"],
  avif: ["quality", "effort"],
  tiff: [],
  keep: ["quality", "effort", "progressive", "subsampling"],
};

export const withoutFormat = (format) => FORMAT_OPTIONS.keep.filter((name) => !FORMAT_OPTIONS[format].includes(name));

export function emptyDraft(known) {
  return {
    chosen: startOf(known),
    decode: startValues({ ...known.get("decode"), example: null }),
    // without the example's quality: the default is another for each format
    encode: { ...startValues(known.get("encode")), quality: undefined },
    outputs: [],
    name: "", names: "", labels: "", priority: "", deadline: "", webhook: "", results: "",
  };
}

let made = 0;

const makeOutput = (name, chosen, encode) => ({ key: (made += 1), name, chosen, encode });

// What a draft has once an output is added. Outputs are usually sizes: so the first time, a resize and what follows it are
// no longer shared but each output's own, and what was made until then is the first one.
export function addOutput(known, { chosen, outputs, encode }) {
  if (outputs.length) return { outputs: [...outputs, makeOutput(freeName(outputs), startOf(known), { ...outputs.at(-1).encode })] };
  const at = chosen.findLastIndex(({ op }) => op === "resize");
  const own = at === -1 ? [] : chosen.slice(at);
  return {
    chosen: chosen.slice(0, chosen.length - own.length),
    outputs: [makeOutput("output-1", own, encode), makeOutput("output-2", own.length ? own.map(copy) : startOf(known), { ...encode })],
  };
}

const startOf = (known) => (known.has("resize") ? [make(known.get("resize"))] : []);

function freeName(outputs) {
  const names = new Set(outputs.map(({ name }) => name.toLowerCase()));
  for (let number = outputs.length + 1; ; number += 1) if (!names.has(`output-${number}`)) return `output-${number}`;
}

// The job document, without the server's defaults.
export function documentOf(known, draft, inputs) {
  const given = (op, values) => ({ op, ...givenValues(known.get(op).parameters, values) });
  const reading = given("decode", draft.decode);
  const writing = (values) => {
    const { op: _, format: _format, ...encode } = given("encode", values);
    for (const name of withoutFormat(values.format)) delete encode[name];
    return { ...encode, output: values.format };
  };
  const outputs = draft.outputs.map(({ name, chosen, encode }) => ({
    name: name.trim(), operations: chosen.map(({ op, values }) => given(op, values)), ...writing(encode),
  }));
  const labels = labelsOf(draft.labels);
  const text = (name) => draft[name].trim() && { [name]: draft[name].trim() };
  return {
    ...text("name"),
    operations: [...(Object.keys(reading).length > 1 ? [reading] : []), ...draft.chosen.map(({ op, values }) => given(op, values))],
    ...(outputs.length ? { outputs } : writing(draft.encode)),
    ...text("names"),
    ...(Object.keys(labels).length && { labels }),
    ...(Number(draft.priority) && { priority: Number(draft.priority) }),
    ...text("deadline"),
    ...(draft.webhook.trim() && { webhook: { url: draft.webhook.trim() } }),
    ...text("results"),
    ...(inputs && { inputs }),
  };
}

// The document of a job that makes one of several outputs alone.
export function documentOfOutput({ outputs, ...document }, index) {
  const { name: _, operations, ...encode } = outputs[index];
  return { ...document, operations: [...document.operations, ...operations], ...encode };
}

// A draft from a job document, or from a job as the server shows it, whose operations include decode and encode.
export function draftOf(known, { operations = [], outputs = [], ...more }) {
  const fresh = emptyDraft(known);
  const encode = { ...fresh.encode, ...find(operations, "encode"), ...encodeOf(more) };
  return {
    ...fresh,
    chosen: chosenOf(known, operations),
    decode: { ...fresh.decode, ...find(operations, "decode") },
    encode,
    outputs: outputs.map((output) => makeOutput(
      output.name, chosenOf(known, output.operations ?? []), { ...encode, ...find(output.operations ?? [], "encode"), ...encodeOf(output) },
    )),
    name: more.name || "",
    names: more.names || "",
    labels: Object.entries(more.labels || {}).map((pair) => pair.join("=")).join(", "),
    priority: more.priority ? String(more.priority) : "",
    deadline: more.state ? "" : more.deadline || "", // an earlier job's has passed
    webhook: more.webhook?.url || "",
    results: more.results || "",
  };
}

const chosenOf = (known, operations) => operations.filter(({ op }) => op !== "decode" && op !== "encode" && known.has(op))
  .map(({ op, ...values }) => makeFrom(known.get(op), values));

function find(operations, name) {
  const { op: _, ...values } = operations.find(({ op }) => op === name) || {};
  return withoutNull(values);
}

const encodeOf = ({ output, quality, effort, progressive, subsampling }) => withoutNull({ format: output, quality, effort, progressive, subsampling });

const withoutNull = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));

// Labels as a user writes them: `city=delft, year=2026`.
export const labelsOf = (text) => Object.fromEntries(pairsOf(text));

const pairsOf = (text) => text.split(",").map((each) => each.trim()).filter(Boolean).map((each) => {
  const [key, ...value] = each.split("=");
  return [key.trim(), value.join("=").trim(), value.length > 0];
});

// What is wrong with labels; empty if nothing is.
export function labelsProblem(text) {
  const pairs = pairsOf(text);
  const wrong = pairs.find(([key, , isPair]) => !key || !isPair);
  if (wrong) return `${wrong[0] || `=${wrong[1]}`} is not key=value.`;
  const twice = pairs.find(([key], index) => pairs.findIndex(([other]) => other === key) < index);
  return twice ? `${twice[0]} is given twice. A job has one value of each label.` : "";
}
