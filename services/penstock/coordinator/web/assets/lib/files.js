// Files that the user drops or picks, with those in folders, each under a unique name.
import { otherTypeOf, suffixesOf } from "./types.js";

const SIDECAR = ".regions.json";

// The files of a drop, and the paths that cannot be read. Entries are taken at once, because the browser empties the
// list after the event.
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return { files: [...transfer.files].map((file) => ({ file, path: file.name })), unread: [] };
  const found = { files: [], unread: [] };
  for (const entry of entries) await walk(entry, found);
  return found;
}

export const pickedFiles = (list) => [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

async function walk(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) {
      found.files.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each, found);
    }
  } catch {
    found.unread.push(path);
  }
}

// Single files, and of those in folders the images, by suffix or first bytes, and their sidecars, as the command line
// takes them. Hidden files are left out, and others ignored, with what they are: it completes "… is …".
export async function sortOut(added, known) {
  const suffixes = [...suffixesOf(known.formats), SIDECAR];
  const [kept, passedOver] = [[], []];
  for (const item of added) {
    const isSingle = !item.path.includes("/");
    if (isSingle || suffixes.some((suffix) => item.path.toLowerCase().endsWith(suffix))) {
      if (isSingle || !isHidden(item.path)) kept.push(item);
    } else if (!isHidden(item.path)) {
      const type = await otherTypeOf(item.file, known).catch(() => "unreadable");
      if (type) passedOver.push({ path: item.path, type });
      else kept.push(item);
    }
  }
  return { kept, passedOver };
}

const isHidden = (path) => /(^|\/)\./.test(path);

// The files chosen before, with the added ones.
export function join(before, added) {
  const names = new Set(before.map((item) => fold(item.name)));
  return [...before, ...added.map(({ file, path }) => ({ file, path, name: unused(path, names) }))];
}

// Names that differ in case or in Unicode's composition alone are the same, as on the server.
const fold = (name) => name.normalize("NFD").toUpperCase().toLowerCase().normalize("NFC");

function unused(path, names) {
  let name = path;
  const [, stem, suffix] = /^(.*?)(\.[^./]*)?$/s.exec(path);
  for (let number = 2; names.has(fold(name)); number += 1) name = `${stem}~${number}${suffix || ""}`;
  names.add(fold(name));
  return name;
}
