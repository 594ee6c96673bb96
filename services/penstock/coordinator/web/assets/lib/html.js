// Preact and htm. Names get into the page as text nodes and attributes, never as markup.
import { h, render } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact/hooks.js";
export { render };
export const html = htm.bind(h);
