// Waiting that ends when a signal aborts. Listeners are removed afterwards, because signals live as long as their view.

export function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}

// Runs `work` with a signal that aborts with the given one, or with the reason `late` after `ms`.
export async function withTimeout(ms, late, signal, work) {
  const stop = new AbortController();
  const follow = () => stop.abort(signal.reason);
  const timer = setTimeout(() => stop.abort(late), ms);
  signal?.addEventListener("abort", follow);
  if (signal?.aborted) follow();
  try {
    return await work(stop.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", follow);
  }
}
