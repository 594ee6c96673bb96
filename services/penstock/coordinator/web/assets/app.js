// The page: a bar with the views, and the view that the address names after its #.
import { html, render, useEffect, useState } from "./lib/html.js";
import { JobView } from "./views/job.js";
import { JobsView } from "./views/jobs.js";
import { NewJobView } from "./views/new-job.js";
import { SystemView } from "./views/system.js";

const VIEWS = [
  ["", "New job", () => html`<${NewJobView} />`],
  ["jobs", "Jobs", (id) => (id ? html`<${JobView} key=${id} id=${id} />` : html`<${JobsView} />`)],
  ["system", "System", () => html`<${SystemView} />`],
];

function App() {
  const [address, setAddress] = useState(location.hash);
  useEffect(() => {
    const moved = () => setAddress(location.hash);
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const [name, id] = address.replace(/^#\/?/, "").split("/");
  const [, title, show] = VIEWS.find(([path]) => path === name) || VIEWS[0];
  useEffect(() => {
    document.title = `${id || title} · Penstock`;
  }, [title, id]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="bar">
      <a class="brand" href="#/"><img src="/web/icon.svg" alt="" width="24" height="24" />Penstock</a>
      <nav aria-label="Views">
        ${VIEWS.map(([path, label]) => html`
          <a key=${path} href=${`#/${path}`} aria-current=${label === title ? "page" : null}>${label}</a>`)}
        <a href="/docs">API</a>
      </nav>
    </header>
    <main id="main" tabindex="-1">${show(id)}</main>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
