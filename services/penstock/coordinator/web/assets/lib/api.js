// The REST API, as the page uses it.
import { within } from "./waiting.js";

const ANSWER_MS = 60_000;

// What the window hears of when the server wants a key that the browser has not, or no more.
export const LOCKED = "penstock-locked";

// A refusal as the server words it (RFC 9457), or no answer at all (status 0).
export class Refusal extends Error {
  constructor(status, problem, retryAfterSecs) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.code = problem.code || "";
    this.pointer = problem.pointer || "";
    this.retryAfterSecs = retryAfterSecs;
  }

  get mayPass() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export async function call(method, path, { json, body, headers = {}, signal } = {}) {
  const answer = await ask(method, path, {
    body: json === undefined ? body : JSON.stringify(json),
    headers: json === undefined ? headers : { "Content-Type": "application/json", ...headers },
    signal,
  });
  return answer.status === 204 ? null : answer.json();
}

// What is only looked at is not waited for longer than a minute; what is sent takes as long as it takes.
export const get = (path, signal) => within(ANSWER_MS, silence(), signal, (bounded) => call("GET", path, { signal: bounded }));

export async function ask(method, path, options) {
  let answer;
  try {
    answer = await fetch(path, { method, ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : silence();
  }
  if (answer.status === 401) dispatchEvent(new Event(LOCKED));
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

const silence = () => new Refusal(0, { detail: "the server does not answer" });

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new Refusal(answer.status, problem, Number(answer.headers.get("Retry-After")) || 0);
}

export function pathOf(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}

// crypto.randomUUID exists on secure origins alone; a server on a local network has none.
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
