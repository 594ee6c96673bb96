// A job's operations and labels, each in a box.
import { operationText } from "../lib/format.js";
import { html } from "../lib/html.js";

export const Chips = ({ operations }) => html`
  <span class="chips">${operations.map((operation, index) => html`
    <span key=${index} class="chip">${operationText(operation)}</span>`)}</span>`;

export const Labels = ({ labels }) => html`
  <span class="chips">${Object.entries(labels).map(([key, value]) => html`
    <span key=${key} class="chip label">${key}=${value}</span>`)}</span>`;
