// Dialogs over the page. Escape closes them, and what had the focus before has it again.
import { html, useLayoutEffect, useRef } from "../lib/html.js";

export function useDialog() {
  const dialog = useRef();
  useLayoutEffect(() => {
    const [opener, element] = [document.activeElement, dialog.current];
    element.showModal();
    return () => {
      element.remove();  // what lies below an open one takes no focus
      opener?.focus();
    };
  }, []);
  return dialog;
}

// Asks before what cannot be undone; the focus begins on the answer that changes nothing.
// It goes with the answer, not with the `close` event: that comes later, and would close what was opened again by then.
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
