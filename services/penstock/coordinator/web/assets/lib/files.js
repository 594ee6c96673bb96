// Files that the user drops or picks, with those in folders, each under a unique name.

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

// The files chosen before, with the added ones. From folders only names of images and of their sidecars are taken;
// single files are taken under any name, because the type is found from the bytes.
export function join(before, added, suffixes) {
  const names = new Set(before.map((item) => item.name));
  const isTaken = (path) => [...suffixes, SIDECAR].some((suffix) => path.toLowerCase().endsWith(suffix));
  const kept = added.filter(({ path }) => !path.includes("/") || (isTaken(path) && !/(^|\/)\./.test(path)));
  return [...before, ...kept.map(({ file, path }) => ({ file, path, name: unused(path, names) }))];
}

function unused(path, names) {
  let name = path;
  const [, stem, suffix] = /^(.*?)(\.[^./]*)?$/s.exec(path);
  for (let number = 2; names.has(name); number += 1) name = `${stem}~${number}${suffix || ""}`;
  names.add(name);
  return name;
}
