// Files that the user drops or picks, with those in folders, each under a unique name.
import { bytes } from "./format.js";
import { otherTypeOf } from "./types.js";

const SIDECAR = ".regions.json";
const CHECKED_AT_ONCE = 64;
const ORDER = new Intl.Collator("en", { numeric: true });

// The files of a drop, with `file` null for what cannot be read. Entries are taken at once, because the browser empties
// the list after the event.
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

export const pickedFiles = (list) => [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

async function walk(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) {
      found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each, found);
    }
  } catch {
    found.push({ file: null, path });
  }
}

// Sorts added files out: `kept` are images, by their first bytes, and sidecars. Hidden ones in folders are left out, and
// others refused, with the reason: it completes "… is …". Files that are dropped alone are taken under any name.
export async function sortOut(added, known) {
  const [kept, refused] = [[], []];
  const visible = added.filter(({ path }) => !path.includes("/") || !isHidden(path));
  for (let at = 0; at < visible.length; at += CHECKED_AT_ONCE) {
    const some = visible.slice(at, at + CHECKED_AT_ONCE);
    const reasons = await Promise.all(some.map((item) => reasonAgainst(item, known)));
    some.forEach((item, index) => (reasons[index] ? refused.push({ path: item.path, type: reasons[index] }) : kept.push(item)));
  }
  return { kept, refused };
}

async function reasonAgainst({ path, file }, known) {
  if (!file) return "unreadable";
  if (isSidecar(path)) return null;
  const type = await otherTypeOf(file, known).catch(() => "unreadable");
  const most = known.max_file_bytes;
  if (/[\\\p{Cc}]/u.test(path)) return "named with a backslash or a control character, which no server accepts";
  return type || (file.size > most ? `too large, with ${bytes(file.size)}; up to ${bytes(most)} are accepted` : null);
}

export const isSidecar = (name) => name.toLowerCase().endsWith(SIDECAR);

// The chosen images, each with its sidecar: `x.jpg.regions.json`, or else `x.regions.json`, whatever their case and
// composition. Sidecars of no image are `alone`.
export function pairSidecars(files) {
  const sidecars = new Map(files.filter(({ name }) => isSidecar(name)).map((item) => [fold(item.name), item]));
  const used = new Set();
  const images = files.filter(({ name }) => !isSidecar(name)).map((item) => {
    const name = [item.name, item.name.replace(/\.[^./]*$/, "")].map((stem) => fold(stem + SIDECAR)).find((each) => sidecars.has(each));
    used.add(name);
    return { item, sidecar: sidecars.get(name) || null };
  });
  return { images, alone: [...sidecars.values()].filter(({ name }) => !used.has(fold(name))) };
}

const isHidden = (path) => /(^|\/)\./.test(path);

// The files chosen before, with the added ones, in natural order: `2.jpg` before `10.jpg`.
export function join(before, added) {
  const names = new Set(before.map((item) => fold(item.name)));
  const folders = foldersOf(before);
  const named = added.map(({ file, path }) => ({ file, path, name: unused(shownPath(path, folders), names) }));
  return [...before, ...named].sort((one, other) => ORDER.compare(one.name, other.name));
}

// Names that differ in case or in Unicode's composition alone are the same, as on the server.
const fold = (name) => name.normalize("NFD").toUpperCase().toLowerCase().normalize("NFC");

// The shown names of folders by their own paths, and which names are taken.
function foldersOf(items) {
  const folders = { shown: new Map([["", ""]]), taken: new Set() };
  for (const { path, name } of items) {
    const [own, shown] = [path.split("/").slice(0, -1), name.split("/").slice(0, -1)];
    own.forEach((_, index) => {
      const place = shown.slice(0, index + 1).join("/");
      folders.shown.set(own.slice(0, index + 1).join("/"), place);
      folders.taken.add(fold(place));
    });
  }
  return folders;
}

// A path in which folders have numbers whose names differ from another's in case or composition alone: `N/a.jpg`,
// `n~2/a.jpg`.
function shownPath(path, { shown, taken }) {
  const parts = path.split("/");
  for (let depth = 1; depth < parts.length; depth += 1) {
    const own = parts.slice(0, depth).join("/");
    if (shown.has(own)) continue;
    const above = shown.get(parts.slice(0, depth - 1).join("/"));
    const place = unused(above ? `${above}/${parts[depth - 1]}` : parts[depth - 1], taken, "");
    shown.set(own, place);
  }
  const above = shown.get(parts.slice(0, -1).join("/"));
  return above ? `${above}/${parts.at(-1)}` : path;
}

function unused(path, names, ending = /(\.[^./]*)?$/.exec(path)[0]) {
  let name = path;
  const stem = path.slice(0, path.length - ending.length);
  for (let number = 2; names.has(fold(name)); number += 1) name = `${stem}~${number}${ending}`;
  names.add(fold(name));
  return name;
}
