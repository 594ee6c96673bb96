// How many images of a job are done, failed and cancelled, as parts of one bar.
import { count, plural } from "../lib/format.js";
import { html } from "../lib/html.js";

const PARTS = ["done", "failed", "cancelled"];

export const Segments = ({ images, whole }) => html`
  <div class=${`segments ${whole ? "whole" : ""}`} role="img" aria-label=${countsText(images)}>
    ${PARTS.map((part) => images[part] > 0 && html`
      <span key=${part} class=${part} style=${{ width: `${(100 * images[part]) / images.total}%` }} />`)}
  </div>`;

// The counts in words: `38 of 40 images, 2 failed`.
export const countsText = ({ total, done, failed, cancelled }) => [
  `${count(done)} of ${plural(total, "image")}`,
  failed > 0 && `${count(failed)} failed`,
  cancelled > 0 && `${count(cancelled)} cancelled`,
].filter(Boolean).join(", ");
