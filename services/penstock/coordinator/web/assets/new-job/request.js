// The job as a request of the API: the same job by curl, Python, JavaScript or the command line, to copy.
import { commandFor, curlFor, javascriptFor, pythonFor } from "../lib/examples.js";
import { at } from "../lib/api.js";
import { html, useState } from "../lib/html.js";
import { Command } from "../parts/small.js";

const TABS = [
  ["curl", curlFor],
  ["Python", pythonFor],
  ["JavaScript", javascriptFor],
  ["Command line", commandFor],
  ["JSON", (document) => JSON.stringify(document, null, 2)],
];

export function ApiRequest({ document, files, withKey }) {
  const [tab, setTab] = useState(0);
  const [open, setOpen] = useState(false);
  const [label, write] = TABS[tab];
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = (tab + step + TABS.length) % TABS.length;
    setTab(next);
    event.currentTarget.children[next].focus();
  };
  return html`
    <details class="card request" onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>API request</summary>
      ${open && html`
        <div class="tabs" role="tablist" aria-label="Languages" onKeyDown=${move}>
          ${TABS.map(([name], index) => html`
            <button key=${name} type="button" role="tab" id=${`request-tab-${index}`} aria-selected=${index === tab} aria-controls="request-code"
                    tabindex=${index === tab ? 0 : -1} onClick=${() => setTab(index)}>${name}</button>`)}
        </div>
        <div role="tabpanel" id="request-code" aria-labelledby=${`request-tab-${tab}`}>
          <${Command} key=${label} text=${write(document, files, location.origin + at(""), withKey)} label=${label} />
        </div>`}
    </details>`;
}
