// Waiting that ends when a signal aborts, and leaves nothing behind on it: signals live as long as their view.

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

// Runs `work` with a signal that aborts with the one given, and when it takes longer than `ms`: with `late`, then.
export async function within(ms, late, signal, work) {
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
