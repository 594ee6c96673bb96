// Files that somebody drops or picks, folders with all below them, each under a name that no other has.

const PICTURE = /\.(jpe?g|png)$/i;

// Everything in a drop: `files`, and the paths of what cannot be read. Entries have to be taken from it at once: the
// browser empties it after the event.
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

// What was chosen before and what comes to it. Of a folder only pictures count; a file picked alone counts whatever
// its name, as the server tells a picture by its bytes.
export function join(before, added) {
  const names = new Set(before.map((item) => item.name));
  const kept = added.filter(({ path }) => !path.includes("/") || (PICTURE.test(path) && !/(^|\/)\./.test(path)));
  return [...before, ...kept.map(({ file, path }) => ({ file, path, name: unused(path, names) }))];
}

function unused(path, names) {
  let name = path;
  const [, stem, suffix] = /^(.*?)(\.[^./]*)?$/s.exec(path);
  for (let number = 2; names.has(name); number += 1) name = `${stem}~${number}${suffix || ""}`;
  names.add(name);
  return name;
}
