// The same job by curl, Python, JavaScript and the command line.

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// curl interprets commas and semicolons in a file name unless it is in double quotes.
const part = (path) => quote(`files=@"${path.replace(/["\\]/g, "\\$&")}"`);

const MAX_FILES = 3;

// The first of the chosen files, and how many more there are.
function shownFiles(files) {
  return { paths: files.length ? files.slice(0, MAX_FILES).map(({ path }) => path) : ["photo.jpg"], more: Math.max(0, files.length - MAX_FILES) };
}

export function curlFor(document, files, origin, withKey) {
  const job = quote(JSON.stringify(document));
  const key = withKey ? ' -H "Authorization: Bearer $PENSTOCK_API_KEY"' : "";
  if (document.inputs) {
    return `curl ${origin}/v1/jobs${key} -H 'Content-Type: application/json' \\\n     -d ${job}`;
  }
  const { paths, more } = shownFiles(files);
  const shown = paths.map((path) => `     -F ${part(path)}`);
  return `curl ${origin}/v1/jobs${key} --form-string job=${job} \\\n${shown.join(" \\\n")}${more ? `\n# and ${more} more files` : ""}`;
}

export function pythonFor(document, files, origin, withKey) {
  const { paths, more } = shownFiles(files);
  const key = withKey ? ', api_key=os.environ["PENSTOCK_API_KEY"]' : "";
  const sent = document.inputs ? "" : `, [${paths.map(python).join(", ")}]`;
  return [
    ...(withKey ? ["import os", ""] : []),
    "from penstock.client import Client",
    "",
    `job_document = ${python(document)}`,
    `with Client(${python(origin)}${key}) as client:`,
    `    job = client.submit(job_document${sent})${more && !document.inputs ? `  # and ${more} more files` : ""}`,
    "    job = job.wait()",
    "    print(job.state, job.images.done)",
    '    job.download("results")',
  ].join("\n");
}

// A JSON value as a literal of Python.
export function python(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value)
    ? value.map((each) => python(each, inner))
    : Object.entries(value).filter(([, each]) => each !== undefined).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  return line.length + indent.length <= 90 ? line : `${open}\n${items.map((each) => `${inner}${each},\n`).join("")}${indent}${close}`;
}

export function javascriptFor(document, files, origin, withKey) {
  const headers = withKey ? ["const headers = { Authorization: `Bearer ${process.env.PENSTOCK_API_KEY}` };"] : ["const headers = {};"];
  const { paths, more } = shownFiles(files);
  const json = JSON.stringify(document, null, 2);
  const body = document.inputs
    ? ['  method: "POST", body: JSON.stringify(job), headers: { ...headers, "Content-Type": "application/json" },']
    : ['  method: "POST", body: form, headers,'];
  return [
    ...(document.inputs ? [] : ['import { openAsBlob } from "node:fs";', 'import { basename } from "node:path";', ""]),
    `const server = ${JSON.stringify(origin)};`,
    ...headers,
    `const job = ${json};`,
    ...(document.inputs ? [] : [
      "const form = new FormData();",
      'form.append("job", JSON.stringify(job));',
      `for (const path of [${paths.map((path) => JSON.stringify(path)).join(", ")}]) {${more ? `  // and ${more} more files` : ""}`,
      '  form.append("files", await openAsBlob(path), basename(path));',
      "}",
    ]),
    "let answer = await fetch(`${server}/v1/jobs`, {",
    ...body,
    "});",
    "let sent = await answer.json();",
    "if (!answer.ok) throw new Error(sent.detail);",
    "while (!sent.finished_at) {",
    "  await new Promise((resolve) => setTimeout(resolve, 500));",
    "  answer = await fetch(new URL(sent.url, server), { headers });",
    "  sent = await answer.json();",
    "}",
    "console.log(sent.state, new URL(sent.links.archive, server).href);",
  ].join("\n");
}

// Fields of a job document that the command line has options for; `labels`, `progressive` and `inputs` are written in
// their own way.
const OPTIONS = ["output", "quality", "effort", "subsampling", "names", "name", "priority", "deadline", "results"];

export function commandFor(document, files, origin) {
  const server = `--server ${origin} --out results`;
  if (document.webhook || document.outputs || document.inputs?.some((input) => !inputArgument(input).includes("://") || input.manifest)) {
    const { paths } = shownFiles(files);
    const sent = document.inputs ? "" : ` ${paths.map(pathArgument).join(" ")}`;
    return `cat > job.json <<'END'\n${JSON.stringify(document, null, 2)}\nEND\npenstock submit${sent} --job job.json ${server}`;
  }
  const { paths, more } = shownFiles(files);
  const inputs = document.inputs ? document.inputs.map((input) => quote(inputArgument(input))) : paths.map(pathArgument);
  const lines = [
    `penstock submit ${inputs.join(" ")}`,
    ...document.operations.map(({ op, ...fields }) => `--op ${quote(Object.keys(fields).length ? `${op}=${JSON.stringify(fields)}` : op)}`),
    ...OPTIONS.filter((name) => document[name] !== undefined).map((name) => `--${name} ${quote(String(document[name]))}`),
    ...(document.progressive ? ["--progressive"] : []),
    ...Object.entries(document.labels || {}).map((pair) => `--label ${quote(pair.join("="))}`),
    server,
  ];
  return `${lines.join(" \\\n     ")}${more && !document.inputs ? `\n# and ${more} more files` : ""}`;
}

const pathArgument = (path) => quote(path.startsWith("-") ? `./${path}` : path);

// A folder of a bucket ends with a slash on the command line.
const inputArgument = (input) => (typeof input === "string" ? input : input.prefix?.replace(/\/?$/, "/") || input.manifest || "");
