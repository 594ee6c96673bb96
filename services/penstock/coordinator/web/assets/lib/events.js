// Server-sent events by fetch. EventSource cannot say on its first connection which failures are known already, and a
// job with a hundred thousand of them would send them all to a page that lists failures in pages.
import { ask } from "./api.js";
import { pause } from "./waiting.js";

const AFTER_ALL_FAILURES = "999999999999999";
const LONGEST_PAUSE_MS = 10_000;
const SILENT_MS = 45_000;

// Calls onEvent(name, data) for each event until `end` has come or the signal aborts; connects again by itself.
export async function follow(path, onEvent, onBreak, signal) {
  let pauseMs = 500;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": AFTER_ALL_FAILURES };
      const answer = await ask("GET", path, { headers, signal });
      for await (const [name, data] of read(answer.body)) {
        pauseMs = 500;
        onEvent(name, data);
        if (name === "end") return;
      }
    } catch (error) {
      if (signal.aborted || error.status === 404) return;
    }
    onBreak();
    await pause(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

// The events of a stream. It counts as ended after 45 s without even one of the comments that come every 15 s: a line
// that died while the computer slept would never say so.
export async function* read(body) {
  const decoder = new TextDecoder();
  let text = "";
  for (const reader = body.getReader(); ; ) {
    const timer = setTimeout(() => reader.cancel(), SILENT_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    text += decoder.decode(value, { stream: true }).replaceAll("\r", "");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    yield* blocks.map(parse).filter(Boolean);
  }
}

// Asks until there is an answer or a refusal that stands; tells each failure meanwhile.
export async function insist(look, onData, onError, signal) {
  for (let pauseMs = 500; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      const data = await look(signal);
      onError(null);
      return onData(data);
    } catch (error) {
      if (signal.aborted) return undefined;
      onError(error);
      if (!error.mayPass) return undefined;
    }
    await pause(pauseMs, signal);
  }
  return undefined;
}

// One event; comments, which keep the connection alive, are none.
export function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? [name, JSON.parse(data.join("\n"))] : null;
}
