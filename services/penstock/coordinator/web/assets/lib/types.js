// Types of files by their first bytes, as the server lists them at /v1/formats.

const HEAD_BYTES = 512;

// The suffixes of the types that the server reads.
const suffixesOf = (formats) => formats.flatMap(({ suffixes }) => suffixes);

// What a picker of files offers: images, and sidecars. Not every browser knows every media type.
export const acceptOf = (formats) =>
  [...formats.map(({ media_type: type }) => type), ...suffixesOf(formats), ".json"].join(",");

// What a file is by its first bytes, if the server does not read its type; null if it does.
export async function otherTypeOf(file, known) {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const type = nameOf([...head], known.signatures);
  if (known.formats.some((format) => format.name === type)) return null;
  return type || (file.size ? "no image of a known type" : "empty");
}

// The name of the type of a file that begins so; undefined if no signature matches.
export function nameOf(head, signatures) {
  const names = [head, ...brandsOf(head).map((brand) => [...head.slice(0, 8), ...brand])].map((each) => match(each, signatures));
  return names.find((name) => name === "AVIF" || name === "HEIC") ?? names[0];
}

const match = (head, signatures) => signatures.find(({ parts }) => parts.every((part) => hasPart(head, part)))?.name;

function hasPart(head, { offset, bytes }) {
  const hex = head.slice(offset, offset + bytes.length / 2).map((byte) => byte.toString(16).padStart(2, "0"));
  return hex.join("") === bytes;
}

// The compatible brands of a file of ISO/IEC 14496-12, such as AVIF and HEIC.
function brandsOf(head) {
  if (String.fromCharCode(...head.slice(4, 8)) !== "ftyp") return [];
  const end = Math.min(head.length, (head[2] << 8) | head[3]);
  return Array.from({ length: Math.max(0, Math.floor((end - 16) / 4)) }, (_, index) => head.slice(16 + 4 * index, 20 + 4 * index));
}
