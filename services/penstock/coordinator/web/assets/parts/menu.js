// A menu behind a button: its links and buttons are those of its children.
import { html, useEffect, useRef } from "../lib/html.js";

export function Menu({ label, children }) {
  const menu = useRef();
  useEffect(() => {
    const shut = (event) => {
      if (event.type === "keydown" && event.key !== "Escape") return;
      const left = event.type === "keydown" || !menu.current.contains(event.target);
      if (menu.current.open && left) menu.current.open = false;
    };
    for (const event of ["pointerdown", "keydown"]) document.addEventListener(event, shut);
    return () => ["pointerdown", "keydown"].forEach((event) => document.removeEventListener(event, shut));
  }, []);
  // The focus goes to what opened the menu, and from there to a dialog and back.
  const close = () => {
    menu.current.open = false;
    menu.current.firstElementChild.focus();
  };
  return html`<details class="menu" ref=${menu}>
    <summary class="button">${label}</summary>
    <div class="menu-items" onClickCapture=${close}>${children}</div>
  </details>`;
}
