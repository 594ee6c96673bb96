// Short messages in a corner: an upload that goes on while another view is open, and what became of it.
import { html } from "../lib/html.js";

export const Toasts = ({ upload, sent, dismiss }) => html`
  <div class="toasts" role="status">
    ${upload && html`<div class="toast"><a href="#/">${upload.share === undefined ? "Sending" : `Sending ${upload.text}`}</a>
      <progress aria-label="Files sent" max="1" value=${upload.share ?? 0}></progress></div>`}
    ${sent && html`<div class="toast row"><span><a href=${`#/jobs/${sent.id}`} onClick=${dismiss}>${sent.name || sent.id}</a> was submitted.</span>
      <button type="button" class="icon" aria-label="Dismiss" onClick=${dismiss}>×</button></div>`}
  </div>`;
