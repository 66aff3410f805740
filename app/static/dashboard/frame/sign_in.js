/** The way in: a key, or the address that the server or `palaver dashboard` prints. */

import { signInWithKey } from "../account.js";
import { Form, TextField } from "../components/form.js";
import { ErrorNotice } from "../components/notice.js";
import { t } from "../lib/i18n.js";
import { html, useEffect } from "../lib/view.js";
import { LanguageChoice } from "./language_choice.js";
import { Logo } from "./logo.js";

/** @param {{ problem: unknown }} props */
export function SignIn({ problem }) {
  useEffect(() => {
    document.title = `${t("signIn.title")} · Palaver`;
  }, []);
  return html`<main class="sign-in">
    <div class="card">
      <${Logo} />
      <h1>${t("signIn.title")}</h1>
      ${problem && html`<${ErrorNotice} error=${problem} />`}
      <${Form} action=${t("signIn.action")} onSubmit=${(/** @type {FormData} */ fields) => signInWithKey(String(fields.get("key")).trim())}>
        <${TextField} label=${t("signIn.key")} name="key" type="password" required autofocus placeholder="plv_…" spellcheck=${false} />
      <//>
      <p class="hint">${t("signIn.hint")}</p>
      <pre><code>palaver dashboard</code></pre>
      <${LanguageChoice} />
    </div>
  </main>`;
}
