// Dialogs over the page. Escape closes them, and what had the focus before has it again.
import { html, useLayoutEffect, useRef } from "../lib/html.js";

export function useDialog() {
  const dialog = useRef();
  useLayoutEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => opener?.focus();
  }, []);
  return dialog;
}

// Asks before what cannot be undone; the focus begins on the answer that changes nothing.
export function Confirm({ title, text, no, yes, act, close }) {
  const dialog = useDialog();
  const agree = () => {
    dialog.current.close();
    act();
  };
  return html`
    <dialog ref=${dialog} class="confirm" role="alertdialog" aria-labelledby="confirm-title"
            aria-describedby="confirm-text" onClose=${close}>
      <h2 id="confirm-title" class="name">${title}</h2>
      <p id="confirm-text">${text}</p>
      <div class="row">
        <button type="button" autofocus onClick=${() => dialog.current.close()}>${no}</button>
        <button type="button" class="grave" onClick=${agree}>${yes}</button>
      </div>
    </dialog>`;
}
