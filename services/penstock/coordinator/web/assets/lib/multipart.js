// Reads a multipart message whose parts have their Content-Length, as the server sends several results of an image.

const DECODER = new TextDecoder("latin1");
const LONGEST_HEAD = 16_384;

// The parts: each with `headers`, by names in lower case, and its `body`.
export function readParts(data) {
  const parts = [];
  for (let at = 0; at < data.length; ) {
    const text = DECODER.decode(data.subarray(at, at + LONGEST_HEAD));
    const end = text.indexOf("\r\n\r\n");
    const [boundary, ...lines] = text.slice(0, end).split("\r\n");
    if (end < 0 || boundary.endsWith("--")) return parts;
    const headers = Object.fromEntries(lines.map((line) => [line.split(":", 1)[0].toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
    const start = at + end + 4;
    const size = Number(headers["content-length"]);
    if (!Number.isInteger(size)) throw new Error("a part without its length");
    parts.push({ headers, body: data.subarray(start, start + size) });
    at = start + size + 2;
  }
  return parts;
}
