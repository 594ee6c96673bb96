// Sends files one by one to an upload, some at a time, each again where the line breaks; goes on where it was stopped.
import { Refusal, call, pathOf } from "./api.js";
import { pause } from "./waiting.js";

const AT_ONCE = 4;
const ATTEMPTS = 6;

export class Uploading {
  constructor(files) {
    this.files = files;
    this.total = files.reduce((sum, { file }) => sum + file.size, 0);
    this.sentBytes = 0;
    this.sentFiles = 0;
    this.refused = [];
    this.waiting = files.map((_, index) => index).reverse();
  }

  // Resolves to the upload's id once every file was taken or refused. After a failure it may be called again.
  async run(signal) {
    this.url ??= (await again(() => call("POST", "/v1/uploads", { signal }), signal)).url;
    const stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    const lines = Array.from({ length: AT_ONCE }, () => this.#sendFiles(stop.signal));
    try {
      await Promise.all(lines);
    } catch (error) {
      stop.abort();
      await Promise.allSettled(lines);
      throw error;
    }
    return this.url.split("/").pop();
  }

  async #sendFiles(signal) {
    while (this.waiting.length) {
      signal.throwIfAborted();
      const index = this.waiting.pop();
      try {
        await this.#send(this.files[index], signal);
      } catch (error) {
        this.waiting.push(index);
        throw error;
      }
    }
  }

  async #send(item, signal) {
    const path = `${this.url}/files/${pathOf(item.name)}`;
    try {
      await again(() => put(path, item.file, signal), signal);
    } catch (error) {
      if (!(error instanceof Refusal) || error.mayPass || error.status === 404) throw error;
      this.refused.push({ name: item.name, reason: error.message });
    }
    this.sentFiles += 1;
    this.sentBytes += item.file.size;
  }
}

// A file that was moved or changed since it was chosen fails as a line that broke does, but for ever.
async function put(path, file, signal) {
  try {
    await call("PUT", path, { body: file, signal });
  } catch (error) {
    if (error.status !== 0 || (await isReadable(file))) throw error;
    throw new Refusal(410, { detail: "it cannot be read any more" });
  }
}

const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

async function again(send, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      if (!error.mayPass || attempt === ATTEMPTS) throw error;
      await pause(Math.max(error.retryAfterSecs * 1000, 2 ** attempt * 250), signal);
    }
  }
}
