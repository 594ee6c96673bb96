// Login with an API key: the browser gets a session cookie and does not keep the key.
import { call } from "../lib/api.js";
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
    <${Heading}>Log in<//>
    <form class="card log-in" onSubmit=${logIn}>
      <p>This server needs an API key. Its operator creates one with <code>penstock key NAME</code>.</p>
      <div class="field">
        <label for="api-key">API key</label>
        <input id="api-key" type="password" required autocomplete="current-password" value=${key}
               onInput=${(event) => setKey(event.currentTarget.value)} />
      </div>
      <${ErrorMessage} error=${error} />
      <div class="row"><button type="submit" class="main">Log in</button></div>
    </form>`;
}
