// Modal dialogs. Escape closes them, and the focus returns to where it was.
import { html, useLayoutEffect, useRef } from "../lib/html.js";

export function useDialog() {
  const dialog = useRef();
  useLayoutEffect(() => {
    const [opener, element] = [document.activeElement, dialog.current];
    element.showModal();
    return () => {
      element.remove();  // while it is open, nothing below it can take the focus
      opener?.focus();
    };
  }, []);
  return dialog;
}

// Confirms an action that cannot be undone; the focus starts on the safe answer. It closes with the answer and not with
// the `close` event, which comes later and could close a dialog that was opened again.
export function Confirm({ title, text, no, yes, act, close }) {
  const dialog = useDialog();
  const agree = () => {
    close();
    act();
  };
  const leave = (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    close();
  };
  return html`
    <dialog ref=${dialog} class="confirm" role="alertdialog" aria-labelledby="confirm-title"
            aria-describedby="confirm-text" onKeyDown=${leave} onClose=${close}>
      <h2 id="confirm-title" class="name">${title}</h2>
      <p id="confirm-text">${text}</p>
      <div class="row">
        <button type="button" autofocus onClick=${close}>${no}</button>
        <button type="button" class="grave" onClick=${agree}>${yes}</button>
      </div>
    </dialog>`;
}
