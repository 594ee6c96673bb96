// A job's operations: added by buttons, moved by drag and drop, buttons or keys, and removed. decode is always first, encode last.
import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { completeValues, startValues } from "../lib/schema.js";
import { Fields } from "./fields.js";

let made = 0;

export const make = (operation) => ({ key: (made += 1), op: operation.name, values: startValues(operation) });

export const makeFrom = (operation, values) => ({ key: (made += 1), op: operation.name, values: completeValues(operation, values) });

export const copy = (item) => ({ ...item, key: (made += 1) });

// What people call an operation: its title, or its name.
export const titleOf = (operation, name) => operation?.title || name.replace(/^./, (letter) => letter.toUpperCase()).replaceAll("_", " ");

// `prefix` starts the ids of its elements, which differ between several lists.
export function Operations({ known, chosen, onChange, prefix = "", label = "Operations, in this order",
                             empty = "No operations yet: images are only written in another format." }) {
  const [announcement, announce] = useState("");
  const [dragged, drag] = useState(null);
  const wanted = useRef(null);
  useLayoutEffect(() => {
    // A card that moves loses its focus; the ids of its elements stay.
    if (wanted.current) document.getElementById(wanted.current)?.focus();
    wanted.current = null;
  });

  const title = (index) => titleOf(known.get(chosen[index].op), chosen[index].op);
  const move = (from, to, focus) => {
    if (to < 0 || to >= chosen.length || from === to) return;
    const moved = chosen.toSpliced(from, 1).toSpliced(to, 0, chosen[from]);
    wanted.current = focus;
    announce(`${title(from)} is now ${to + 1} of ${chosen.length}`);
    onChange(moved);
  };
  // Moves the dragged card to where another is, if it will then be below the pointer, or it would go back and forth.
  const pull = (to, reaches) => {
    const from = chosen.findIndex(({ key }) => key === dragged);
    if (from !== -1 && (from > to ? reaches.fromAbove : reaches.fromBelow)) move(from, to);
  };
  const remove = (index) => {
    const next = chosen[index + 1] || chosen[index - 1];
    wanted.current = next ? `remove-${next.key}` : `${prefix}add-0`;
    announce(`${title(index)} removed`);
    onChange(chosen.toSpliced(index, 1));
  };
  const add = (operation) => {
    announce(`${titleOf(operation, operation.name)} added, ${chosen.length + 1} of ${chosen.length + 1}`);
    onChange([...chosen, make(operation)]);
  };
  const set = (index, values) => onChange(chosen.with(index, { ...chosen[index], values }));

  const addable = [...known.values()].filter(({ name, group }) => name !== "decode" && name !== "encode" && !group);
  return html`
    <ol class="operations" aria-label=${label}>
      ${chosen.map((item, index) => html`
        <${Card} key=${item.key} item=${item} index=${index} total=${chosen.length} operation=${known.get(item.op)}
                 dragged=${dragged === item.key} move=${move} remove=${remove}
                 onValues=${(values) => set(index, values)} onDrag=${drag}
                 onOver=${(reaches) => pull(index, reaches)} />`)}
    </ol>
    ${!chosen.length && html`<p class="empty">${empty}</p>`}
    <div class="row add" role="group" aria-label="Add an operation">
      ${addable.map((operation, index) => html`
        <button type="button" class="quiet" key=${operation.name} id=${`${prefix}add-${index}`}
                title=${plain(operation.description)} onClick=${() => add(operation)}>+ ${titleOf(operation, operation.name)}</button>`)}
    </div>
    <p role="status" class="hidden">${announcement}</p>`;
}

function Card({ item, index, total, operation, dragged, move, remove, onValues, onDrag, onOver }) {
  const card = useRef();
  const title = titleOf(operation, item.op);
  const start = (event) => {
    event.dataTransfer.setData("text/plain", item.op);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setDragImage(card.current, 20, 20);
    onDrag(item.key);
  };
  const keys = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!event.altKey || !step || event.target.tagName === "SELECT") return;  // there they open the list
    event.preventDefault();
    move(index, index + step, event.target.id);
  };
  const over = (event) => {
    event.preventDefault();
    const height = card.current.parentElement.querySelector(".dragged")?.offsetHeight;
    const { top, bottom } = card.current.getBoundingClientRect();
    onOver({ fromAbove: event.clientY - top < height, fromBelow: bottom - event.clientY < height });
  };
  return html`
    <li class=${`operation ${dragged ? "dragged" : ""}`} ref=${card} onKeyDown=${keys} onDragOver=${over}
        onDrop=${(event) => event.preventDefault()}>
      <div class="operation-head" draggable="true" onDragStart=${start} onDragEnd=${() => onDrag(null)} title="Drag to move">
        <span class="handle" aria-hidden="true">⠿</span>
        <h3>${title}</h3>
        <div class="row">
          <${Move} name="up" sign="↑" item=${item} title=${title} off=${index === 0} go=${() => move(index, index - 1, `up-${item.key}`)} />
          <${Move} name="down" sign="↓" item=${item} title=${title} off=${index === total - 1}
                   go=${() => move(index, index + 1, `down-${item.key}`)} />
          <button type="button" class="icon" id=${`remove-${item.key}`} aria-label=${`Remove ${title}`}
                  title="Remove" onClick=${() => remove(index)}>×</button>
        </div>
      </div>
      <p class="help">${plain(operation?.description)}</p>
      ${operation && html`<${Fields} operation=${operation} values=${item.values} onChange=${onValues}
                                     prefix=${`op${item.key}`} />`}
    </li>`;
}

const Move = ({ name, sign, item, title, off, go }) => html`
  <button type="button" class="icon" id=${`${name}-${item.key}`} aria-disabled=${off} onClick=${go}
          aria-label=${`Move ${title} ${name}`} title=${`Move ${name} (Alt+Arrow)`}>${sign}</button>`;

// The first paragraph of a description, without the markup for the Python documentation.
const plain = (text = "") => text.split("\n\n")[0].replaceAll("`", "").replace(/\s+/g, " ");
