// The page: a bar with the views, and the view named by the URL's hash. The form for a new job stays mounted behind the
// others and behind the login of an expired session, so that neither loses any input.
import { LOGIN_NEEDED, get, request } from "./lib/api.js";
import { keepTrying } from "./lib/events.js";
import { templateAt } from "./lib/templates.js";
import { html, render, useEffect, useState } from "./lib/html.js";
import { Shortcuts } from "./parts/shortcuts.js";
import { ErrorMessage } from "./parts/small.js";
import { Toasts } from "./parts/toasts.js";
import { JobView } from "./views/job.js";
import { JobsView } from "./views/jobs.js";
import { LogInView } from "./views/log-in.js";
import { NewJobView } from "./views/new-job.js";
import { SystemView } from "./views/system.js";

const ICON = new URL("icon.svg", import.meta.url).href;
const TOAST_MS = 10_000;

const VIEWS = [
  ["", "New job", () => null],
  ["jobs", "Jobs", (id, image) => (id ? html`<${JobView} key=${id} id=${id} shown=${image} />` : html`<${JobsView} />`)],
  ["system", "System", () => html`<${SystemView} />`],
];

function App() {
  const [address, setAddress] = useState(location.hash);
  const [who, setWho] = useState(null);
  const [locked, setLocked] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => {
    addEventListener("hashchange", () => setAddress(location.hash));
    addEventListener(LOGIN_NEEDED, () => setLocked(true));
    for (const event of ["dragover", "drop"]) addEventListener(event, ignoreDrop);
    const report = (failure) => setError(failure?.status === 401 ? null : failure);
    keepTrying((signal) => get("/session", signal), setWho, report, new AbortController().signal);
  }, []);
  const { path, title, show, id, image } = viewAt(address);
  const taken = () => {
    history.replaceState(null, "", "#/");
    setAddress("#/");
  };
  useEffect(() => {
    document.title = `${locked ? "Log in" : (path === "jobs" && id) || title} · Penstock`;
  }, [title, id, locked]);

  const enter = (caller) => {
    setWho(caller);
    setLocked(false);
  };
  const [forms, setForms] = useState(0);
  const [upload, setUpload] = useState(null);
  const [submitted, setSubmitted] = useState(null);
  const sent = (job) => {
    setForms((before) => before + 1);
    setUpload(null);
    if (viewAt(location.hash).path === "") location.hash = `#/jobs/${job.id}`;
    else setSubmitted(job);
  };
  useEffect(() => {
    if (!submitted) return undefined;
    const timer = setTimeout(() => setSubmitted(null), TOAST_MS);
    return () => clearTimeout(timer);
  }, [submitted]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Bar} now=${path} who=${locked ? null : who} />
    <main id="main" tabindex="-1">
      ${locked && html`<${LogInView} onDone=${enter} />`}
      ${!locked && error && html`<${ErrorMessage} error=${error} />`}
      ${who && html`<${NewJobView} key=${`${forms} ${who.name}`} who=${who} shown=${path === "" && !locked} template=${templateAt(address)} onTaken=${taken}
        onUpload=${setUpload} onSent=${sent} />`}
      ${!locked && who && show(id, image)}
    </main>
    <${Toasts} upload=${path !== "" && !locked && upload} sent=${submitted} dismiss=${() => setSubmitted(null)} />`;
}

function viewAt(address) {
  const [name, id, of, number] = address.replace(/^#\/?/, "").split("/");
  const [path, title, show] = VIEWS.find(([each]) => each === name) || VIEWS[0];
  return { path, title, show, id, image: of === "images" && /^\d{1,10}$/.test(number) ? Number(number) : null };
}

const Bar = ({ now, who }) => html`
  <header class="bar">
    <a class="brand" href="#/"><img src=${ICON} alt="" width="24" height="24" />Penstock</a>
    <nav aria-label="Views">
      ${VIEWS.map(([path, label]) => html`
        <a key=${path} href=${`#/${path}`} aria-current=${path === now ? "page" : null}>${label}</a>`)}
      <a href="docs">API</a>
    </nav>
    <span class="tools">
    ${who?.name && html`<span class="who"><span class="name">${who.name}</span>
      <button type="button" class="quiet" onClick=${logOut}>Log out</button></span>`}
    <${Shortcuts} /></span>
  </header>`;

async function logOut() {
  await request("DELETE", "/session").catch(() => {});
  location.reload();
}

// Without this, the browser would open a file that is dropped outside of the drop area, and leave the page.
function ignoreDrop(event) {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
