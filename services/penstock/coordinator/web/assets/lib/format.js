// Numbers, durations and times for people.

const NUMBER = new Intl.NumberFormat("en");
const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

export const count = (number) => NUMBER.format(number);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function span(secs) {
  if (secs === null || secs === undefined) return "–";
  if (secs > 0 && secs < 0.0005) return "< 1 ms";
  if (secs < 1) return `${Math.round(secs * 1000)} ms`;
  if (secs < 10) return `${secs.toFixed(1)} s`;
  const first = UNITS.findIndex(([size]) => secs >= size);
  const [size, unit] = UNITS[first];
  const whole = Math.floor(secs / size);
  const below = UNITS[first + 1];
  const rest = below ? Math.floor((secs % size) / below[0]) : 0;
  return rest ? `${whole} ${unit} ${rest} ${below[1]}` : `${whole} ${unit}`;
}

export function bytes(size) {
  if (size === null) return "–";
  const unit = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(size ? Math.floor(Math.log10(size) / 3) : 0, unit.length - 1);
  const value = size / 1000 ** step;
  return `${step && value < 10 ? value.toFixed(1) : Math.round(value)} ${unit[step]}`;
}

export const rate = (perSecond) =>
  perSecond === null ? "–" : `${perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))} images/s`;

export const percent = (share) => (share === null ? "–" : `${Math.round(share * 100)} %`);

export const moment = (text, timeStyle = "short") =>
  new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle });

// Operations whose values say little without their names.
const NAMED = ["crop", "rotate", "tile", "adjust"];

// An operation of a plan in short: `blur gaussian`, `resize inside 512×512`, `tile columns 3, rows 2`.
export function operationText({ op, ...fields }) {
  if (op === "resize") return resizeText(fields);
  if (op === "encode" && fields.format) return encodeText(fields);
  if (NAMED.includes(op)) return `${op} ${Object.entries(fields).map((field) => field.join(" ")).join(", ")}`;
  const values = Object.values(fields).filter((value) => value !== true && value !== null);
  return [op, ...values.map((value) => (typeof value === "object" ? JSON.stringify(value) : value))].join(" ");
}

function encodeText({ format, quality, progressive, subsampling }) {
  const shown = ["jpg", "webp", "avif"].includes(format) && quality;
  return ["encode", format, shown, progressive && "progressive", subsampling].filter(Boolean).join(" ");
}

function resizeText({ fit, width, height, longest, percent }) {
  const sides = (width || height) && `${width ?? ""}×${height ?? ""}`;
  const size = sides || (longest && `longest ${longest}`) || (percent && `${percent} %`);
  return ["resize", fit, size].filter(Boolean).join(" ");
}
