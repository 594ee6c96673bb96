// What a page says while another tab is in front: progress in its icon, and a notification when a job ends.

const STEPS = 8;
export const ICON = document.querySelector("link[rel=icon]").href;

// Shows a share in the tab's icon; null for the usual icon.
export function showProgress(share) {
  const path = share === null ? ICON : new URL(`progress/${Math.round(share * STEPS)}.svg`, ICON).href;
  const link = document.querySelector("link[rel=icon]");
  if (link.getAttribute("href") !== path) link.setAttribute("href", path);
}

// Whether the user may still be asked for permission.
export const canAsk = () => "Notification" in globalThis && Notification.permission === "default";

export const ask = () => Notification.requestPermission();

// Shows a notification if the user has allowed it and looks at something else.
export function notify(title, text, tag) {
  if (!("Notification" in globalThis) || Notification.permission !== "granted" || document.hasFocus()) return;
  const shown = new Notification(title, { body: text, tag, icon: ICON });
  shown.onclick = () => {
    window.focus();
    shown.close();
  };
}
