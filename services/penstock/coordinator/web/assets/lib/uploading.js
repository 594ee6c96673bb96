// Uploads files, a few at a time. A file is sent again if the connection is lost; a stopped upload can be resumed.
import { ApiError, call, pathOf } from "./api.js";
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

  // Resolves to the upload's id once every file is stored or refused. May be called again after a failure.
  async run(signal) {
    this.url ??= (await retry(() => call("POST", "/v1/uploads", { signal }), signal)).url;
    const stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    const workers = Array.from({ length: AT_ONCE }, () => this.#sendFiles(stop.signal));
    try {
      await Promise.all(workers);
    } catch (error) {
      stop.abort();
      await Promise.allSettled(workers);
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
      await retry(() => put(path, item.file, signal), signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.isTemporary || [401, 404].includes(error.status)) throw error;
      this.#refuse(item, error.message);
      return;
    }
    this.#count(item);
  }

  #refuse(item, reason) {
    this.refused.push({ name: item.name, reason });
    this.#count(item);
  }

  #count({ file }) {
    this.sentFiles += 1;
    this.sentBytes += file.size;
  }
}

// A file that was moved or changed after it was chosen fails like a lost connection, but every time.
async function put(path, file, signal) {
  try {
    await call("PUT", path, { body: file, signal });
  } catch (error) {
    if (error.status !== 0 || (await isReadable(file))) throw error;
    throw new ApiError(410, { detail: "it can no longer be read" });
  }
}

const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

async function retry(send, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      if (!error.isTemporary || attempt === ATTEMPTS) throw error;
      await pause(Math.max(error.retryAfterSecs * 1000, 2 ** attempt * 250), signal);
    }
  }
}
