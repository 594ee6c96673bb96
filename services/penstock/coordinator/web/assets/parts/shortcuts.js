// Keyboard shortcuts, and the sheet that lists them. Single keys can be switched off, since speech input may press them.
import { html, useEffect, useState } from "../lib/html.js";
import { useDialog } from "./dialog.js";

const OFF = "penstock-shortcuts-off";
const VIEWS = { n: "#/", j: "#/jobs", s: "#/system" };

const SHEET = [
  ["Everywhere", [["N", "New job"], ["J", "Jobs"], ["S", "System"], ["/", "Search jobs"], ["?", "This list"]]],
  ["New job", [["Alt ↑ ↓", "Move an operation"], ["← →", "Move the slider of the preview"]]],
  ["An image of a job", [["← →", "Next and previous image"], ["+ −", "Zoom"], ["0", "Fit"], ["Esc", "Close"]]],
];

const isOff = () => {
  try {
    return localStorage.getItem(OFF) === "true";
  } catch {
    return false;
  }
};

export function Shortcuts() {
  const [shown, show] = useState(false);
  useEffect(() => {
    const press = (event) => {
      const typing = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
      if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || typing || isOff()) return;
      if (event.key === "?") show(true);
      else if (event.key === "/") search(event);
      else if (VIEWS[event.key]) location.hash = VIEWS[event.key];
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return html`
    <button type="button" class="icon" aria-haspopup="dialog" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick=${() => show(true)}>?</button>
    ${shown && html`<${Sheet} close=${() => show(false)} />`}`;
}

// Goes to the jobs, and into their search once it is there.
function search(event) {
  event.preventDefault();
  location.hash = "#/jobs";
  const look = (left) => {
    const field = document.querySelector("input[type=search]");
    if (field) field.focus();
    else if (left) requestAnimationFrame(() => look(left - 1));
  };
  requestAnimationFrame(() => look(30));
}

function Sheet({ close }) {
  const dialog = useDialog();
  const [off, setOff] = useState(isOff());
  const toggle = (event) => {
    setOff(!event.currentTarget.checked);
    try {
      localStorage.setItem(OFF, String(!event.currentTarget.checked));
    } catch {
      // without storage, the choice lasts as long as the page
    }
  };
  return html`
    <dialog ref=${dialog} class="sheet" aria-labelledby="sheet-title" onClose=${close}>
      <div class="card-head"><h2 id="sheet-title">Keyboard shortcuts</h2>
        <button type="button" class="icon" aria-label="Close" onClick=${close}>×</button></div>
      ${SHEET.map(([title, keys]) => html`
        <h3 key=${title}>${title}</h3>
        <dl>${keys.map(([key, what]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>`)}
      <label class="row"><input type="checkbox" checked=${!off} onChange=${toggle} /> Single-key shortcuts</label>
    </dialog>`;
}
