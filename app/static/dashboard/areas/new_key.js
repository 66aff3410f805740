/** The text of a new key, which is shown once, with a line to try it. */

import { urlOf } from "../api/http.js";
import { Button } from "../components/button.js";
import { CopyBlock } from "../components/copy.js";
import { Dialog } from "../components/dialog.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

/** @param {{ apiKey: import("../api/types.js").NewApiKey, onClose: () => void }} props */
export function NewKeyDialog({ apiKey, onClose }) {
  const body = JSON.stringify({ username: apiKey.username ?? "alice", message: "Hello" });
  const line = `curl -N ${urlOf("api/v1/chat").href} -H 'X-API-Key: ${apiKey.key}' -H 'Content-Type: application/json' -d '${body.replaceAll("'", String.raw`'\''`)}'`;
  return html`<${Dialog} title=${t("key.ready", { name: apiKey.name })} onClose=${onClose} isWide>
    <p>${t("key.shownOnce")}</p>
    <${CopyBlock} text=${apiKey.key} label=${t("key.text")} />
    ${apiKey.scopes.includes("chat") &&
    html`<p>${t("key.try")}</p>
      <${CopyBlock} text=${line} label=${t("key.try")} />`}
    <footer><${Button} kind="main" onClick=${onClose}>${t("key.stored")}<//></footer>
  <//>`;
}
