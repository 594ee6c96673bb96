// What every part is made with. Names reach the page as text nodes and attributes alone, never as markup.
import { h, render } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact/hooks.js";
export { render };
export const html = htm.bind(h);
