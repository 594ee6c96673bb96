// Calls of the REST API.
import { withTimeout } from "./waiting.js";

const ANSWER_MS = 60_000;

// Event of the window: the server needs an API key and the browser has no valid session.
export const LOGIN_NEEDED = "penstock-login-needed";

// A problem document of the server (RFC 9457), or no response at all (status 0).
export class ApiError extends Error {
  constructor(status, problem, retryAfterSecs) {
    super(problem.detail || problem.title || `the server responded with ${status}`);
    this.status = status;
    this.code = problem.code || "";
    this.pointer = problem.pointer || "";
    this.retryAfterSecs = retryAfterSecs;
  }

  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

// The path below which the page is shown, if a proxy shows it below one; the server's links begin with it already.
const BASE = new URL(".", document.baseURI).pathname.slice(0, -1);

export const at = (path) => (BASE && path.startsWith(`${BASE}/`) ? path : BASE + path);

export async function call(method, path, { json, body, headers = {}, signal } = {}) {
  const answer = await request(method, path, {
    body: json === undefined ? body : JSON.stringify(json),
    headers: json === undefined ? headers : { "Content-Type": "application/json", ...headers },
    signal,
  });
  return answer.status === 204 ? null : answer.json();
}

// Reads time out after a minute; uploads take as long as they need.
export const get = (path, signal) => withTimeout(ANSWER_MS, noResponse(), signal, (bounded) => call("GET", path, { signal: bounded }));

// After a refusal, what the page has preloaded is refused as well. A request in another mode does not use it; to the
// own server, both modes send the cookie.
let credentials = "same-origin";

export async function request(method, path, options) {
  let answer;
  try {
    answer = await fetch(at(path), { method, credentials, ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : noResponse();
  }
  if (answer.status === 401) {
    credentials = "include";
    dispatchEvent(new Event(LOGIN_NEEDED));
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

const noResponse = () => new ApiError(0, { detail: "the server does not answer" });

async function problemOf(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new ApiError(answer.status, problem, Number(answer.headers.get("Retry-After")) || 0);
}

export function pathOf(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}

// crypto.randomUUID needs a secure origin, which a server on a local network is not.
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
