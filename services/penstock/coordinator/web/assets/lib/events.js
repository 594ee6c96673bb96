// Server-sent events by fetch. EventSource cannot send Last-Event-ID with its first request, and the server would send
// all of a job's failures, perhaps a hundred thousand, to a page that lists failures in pages.
import { request } from "./api.js";
import { pause } from "./waiting.js";

const AFTER_ALL_FAILURES = "999999999999999";
const LONGEST_PAUSE_MS = 10_000;
const IDLE_MS = 45_000;

// Calls onEvent(name, data) for each event until `end` or until the signal aborts; reconnects by itself. Throws if there is
// nothing at the path (any more).
export async function follow(path, onEvent, onBreak, signal) {
  let pauseMs = 500;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": AFTER_ALL_FAILURES };
      const answer = await request("GET", path, { headers, signal });
      for await (const [name, data] of readEvents(answer.body)) {
        pauseMs = 500;
        onEvent(name, data);
        if (name === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) throw error;
    }
    onBreak();
    await pause(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

// The events of a stream. It ends after 45 s without data, since the server sends a comment every 15 s: a connection
// that was lost while the computer slept would never end otherwise.
export async function* readEvents(body) {
  const decoder = new TextDecoder();
  let text = "";
  for (const reader = body.getReader(); ; ) {
    const timer = setTimeout(() => reader.cancel(), IDLE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    text += decoder.decode(value, { stream: true }).replaceAll("\r", "");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    yield* blocks.map(parse).filter(Boolean);
  }
}

// Repeats a read until it succeeds or fails for good; reports each failure.
export async function keepTrying(read, onData, onError, signal) {
  for (let pauseMs = 500; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      const data = await read(signal);
      onError(null);
      return onData(data);
    } catch (error) {
      if (signal.aborted) return undefined;
      onError(error);
      if (!error.isTemporary) return undefined;
    }
    await pause(pauseMs, signal);
  }
  return undefined;
}

// One event; null for a comment, which only keeps the connection alive.
export function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? [name, JSON.parse(data.join("\n"))] : null;
}
