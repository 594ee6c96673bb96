// What an image's EXIF says, read from the head of its file: JPEG, PNG, WebP and TIFF.

const HEAD_BYTES = 131_072;
const MAX_TEXT = 160;
const [ASCII, RATIONAL, SIGNED_RATIONAL] = [2, 5, 10];
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];
const [EXIF_POINTER, GPS_POINTER] = [0x8769, 0x8825];

// The rows of a table, such as [["Camera", "Canon EOS R5"]]; none if the file has no EXIF or cannot be read.
export async function readExif(url, signal) {
  const answer = await fetch(url, { headers: { Range: `bytes=0-${HEAD_BYTES - 1}` }, signal });
  if (!answer.ok) return [];
  const reader = answer.body.getReader();
  const parts = [];
  let size = 0;
  while (size < HEAD_BYTES) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
  }
  reader.cancel().catch(() => {});  // of a server that ignores ranges
  return rowsOf(new Uint8Array(await new Blob(parts).arrayBuffer()));
}

export function rowsOf(bytes) {
  try {
    const tiff = findTiff(bytes);
    return tiff ? describe(readTags(tiff)) : [];
  } catch (error) {
    if (error instanceof RangeError) return [];  // cut off or damaged
    throw error;
  }
}

const text = (bytes, start, length) => String.fromCharCode(...bytes.subarray(start, start + length));

function findTiff(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (["II*\0", "MM\0*"].includes(text(bytes, 0, 4))) return bytes;
  if (view.getUint16(0) === 0xffd8) return inJpeg(bytes, view);
  if (text(bytes, 1, 3) === "PNG") return inChunks(bytes, (at) => [text(bytes, at + 4, 4), at + 8, view.getUint32(at)], 8, "eXIf", 4);
  if (text(bytes, 8, 4) === "WEBP") {
    return inChunks(bytes, (at) => [text(bytes, at, 4), at + 8, view.getUint32(at + 4, true)], 12, "EXIF", 0);
  }
  return null;
}

function inJpeg(bytes, view) {
  for (let at = 2; view.getUint8(at) === 0xff && view.getUint8(at + 1) !== 0xda; at += 2 + view.getUint16(at + 2)) {
    if (view.getUint8(at + 1) === 0xe1 && text(bytes, at + 4, 6) === "Exif\0\0") return bytes.subarray(at + 10, at + 2 + view.getUint16(at + 2));
  }
  return null;
}

function inChunks(bytes, read, first, wanted, after) {
  for (let at = first; at + 8 <= bytes.length; ) {
    const [name, start, length] = read(at);
    if (name === wanted) return bytes.subarray(text(bytes, start, 4) === "Exif" ? start + 6 : start, start + length);
    at = start + length + after + (after ? 0 : length % 2);
  }
  return null;
}

function readTags(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = text(bytes, 0, 2) === "II";
  const tags = {};
  const read = (start, prefix) => {
    for (let entry = 0; entry < view.getUint16(start, little); entry += 1) {
      const at = start + 2 + 12 * entry;
      const [tag, type, length] = [view.getUint16(at, little), view.getUint16(at + 2, little), view.getUint32(at + 4, little)];
      const size = (SIZES[type] || 0) * length;
      if (!size || size > 4096) continue;
      tags[prefix + tag.toString(16)] = values(view, size > 4 ? view.getUint32(at + 8, little) : at + 8, type, length, little);
    }
  };
  read(view.getUint32(4, little), "");
  for (const [pointer, prefix] of [[EXIF_POINTER, ""], [GPS_POINTER, "gps"]]) {
    const start = tags[pointer.toString(16)]?.[0];
    if (start) read(start, prefix);
  }
  return tags;
}

function values(view, start, type, length, little) {
  if (type === ASCII) return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + start, length)).split("\0")[0].trim();
  const size = SIZES[type];
  return Array.from({ length }, (_, index) => {
    const at = start + size * index;
    if (type === RATIONAL) return view.getUint32(at, little) / view.getUint32(at + 4, little);
    if (type === SIGNED_RATIONAL) return view.getInt32(at, little) / view.getInt32(at + 4, little);
    return size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, little) : view.getUint32(at, little);
  });
}

const rounded = (number, digits = 1) => Number(number.toFixed(digits));

function describe(tags) {
  const number = (name) => (Number.isFinite(tags[name]?.[0]) ? tags[name][0] : null);
  const shown = (name, show) => (number(name) === null ? null : show(number(name)));
  const settings = [
    shown("829a", (secs) => (secs >= 0.4 || !secs ? `${rounded(secs)} s` : `1/${Math.round(1 / secs)} s`)),
    shown("829d", (stop) => `f/${rounded(stop)}`),
    shown("8827", (speed) => `ISO ${speed}`),
    shown("920a", (length) => `${rounded(length)} mm`),
  ].filter(Boolean);
  const [make, model] = [tags["10f"] || "", tags["110"] || ""];
  return [
    ["Taken", String(tags["9003"] || tags["132"] || "").replace(/^(\d+):(\d+):/, "$1-$2-")],
    ["Camera", model.startsWith(make.split(" ")[0]) ? model : `${make} ${model}`.trim()],
    ["Lens", tags.a434 || ""],
    ["Exposure", settings.join(", ")],
    ["Place", placeOf(tags)],
    ["Heading", shown("gps11", (heading) => `${rounded(heading)}°`) || ""],
    ["Altitude", shown("gps6", (height) => `${rounded(tags.gps5?.[0] === 1 ? -height : height)} m`) || ""],
    ["By", tags["13b"] || ""],
    ["Copyright", tags["8298"] || ""],
    ["Description", shorten(tags["10e"] || "")],
  ].filter(([, value]) => value);
}

// Mapillary writes JSON into the description, which is not for people.
const shorten = (words) => (words.startsWith("{") ? "" : words.length > MAX_TEXT ? `${words.slice(0, MAX_TEXT)}…` : words);

function placeOf({ gps1: northOrSouth, gps2: latitude, gps3: eastOrWest, gps4: longitude }) {
  const degrees = (parts, side) => `${rounded(parts[0] + (parts[1] || 0) / 60 + (parts[2] || 0) / 3600, 5)}° ${side}`;
  if (!latitude?.every(Number.isFinite) || !longitude?.every(Number.isFinite)) return "";
  return `${degrees(latitude, northOrSouth)}, ${degrees(longitude, eastOrWest)}`;
}
