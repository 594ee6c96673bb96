// A job's operations and labels, each in a box.
import { count, operationText } from "../lib/format.js";
import { html } from "../lib/html.js";

export const Chips = ({ operations }) => html`
  <span class="chips">${operations.map((operation, index) => html`
    <span key=${index} class="chip">${operationText(operation)}</span>`)}</span>`;

// What each of several outputs is made by, in a line of its own.
export const Outputs = ({ outputs = [] }) => outputs.map(({ name, operations, done }) => html`
  <p key=${name} class="facts"><b class="name">${name}</b><${Chips} operations=${operations} /><span class="numbers">${count(done)} done</span></p>`);

export const Labels = ({ labels }) => html`
  <span class="chips">${Object.entries(labels).map(([key, value]) => html`
    <span key=${key} class="chip label">${key}=${value}</span>`)}</span>`;
