// Small components that several views share.
import { html, useEffect, useRef, useState } from "../lib/html.js";

// States with the style of another one.
const STYLES = { succeeded: "done", delivered: "done", given_up: "failed" };

export const Badge = ({ state }) => html`<span class="badge ${STYLES[state] || state}">${state.replaceAll("_", " ")}</span>`;

// An error message; screen readers announce it at once.
export const ErrorMessage = ({ error }) =>
  html`<div role="alert">${error && html`<p class="trouble">${error.message || String(error)}</p>`}</div>`;

export function Copy({ text, label = "Copy" }) {
  const [announcement, announce] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => announce(""), 2500);
    return () => clearTimeout(timer);
  }, [announcement]);
  const copy = async () => announce((await copied(text)) ? "Copied" : "Select the text and copy it");
  return html`<button type="button" class="quiet" onClick=${copy}>${label}</button>
    <span role="status" class="said">${announcement}</span>`;
}

// navigator.clipboard needs a secure origin.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

export const Command = ({ text, label }) => html`
  <div class="command">
    <pre tabindex="0" role="region" aria-label=${label}>${text}</pre>
    <div class="row"><${Copy} text=${text} label=${`Copy ${label}`} /></div>
  </div>`;

// Whether the page is visible.
export function useVisible() {
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const look = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return visible;
}

// A view's heading. It takes the focus when the view opens, so that keyboards and screen readers start there, unless
// something in the view has it already. A clamped one is a name of any length.
export function Heading({ children, clamped = false }) {
  const heading = useRef();
  useEffect(() => {
    if (!heading.current.closest("main")?.contains(document.activeElement)) heading.current.focus({ preventScroll: true });
  }, []);
  return html`<h1 ref=${heading} tabindex="-1" class=${clamped ? "clamped" : null} title=${clamped ? children : null}>${children}</h1>`;
}
