// Login with an API key: the browser gets a session cookie and does not keep the key.
import { call } from "../lib/api.js";
import { ICON } from "../lib/attention.js";
import { html, useState } from "../lib/html.js";
import { Heading, ErrorMessage } from "../parts/small.js";

export function LogInView({ onDone }) {
  const [key, setKey] = useState("");
  const [error, setError] = useState(null);
  const logIn = async (event) => {
    event.preventDefault();
    setError(null);
    try {
      onDone(await call("POST", "/session", { json: { key: key.trim() } }));
    } catch (failure) {
      setError(failure);
    }
  };
  return html`
    <form class="card log-in" onSubmit=${logIn}>
      <img src=${ICON} alt="" width="44" height="44" />
      <${Heading}>Log in<//>
      <p>This server needs an API key. Its operator creates one with <code>penstock key NAME</code>.</p>
      <div class="field">
        <label for="api-key">API key</label>
        <input id="api-key" type="password" required autocomplete="current-password" value=${key}
               onInput=${(event) => setKey(event.currentTarget.value)} />
      </div>
      <${ErrorMessage} error=${error} />
      <button type="submit" class="main">Log in</button>
      <p class="help">The key is exchanged for a cookie, and not stored. <a href="docs">API</a></p>
    </form>`;
}
