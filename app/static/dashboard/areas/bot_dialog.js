/** A new bot. */

import { createBot } from "../api/manage.js";
import { Dialog } from "../components/dialog.js";
import { AreaField, Form, TextField } from "../components/form.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

const KINDS = [
  ...["telegram", "discord", "slack", "lark", "dingtalk", "wecom_ai_bot", "wecom", "qq_official", "aiocqhttp"],
  ...["line", "mattermost", "matrix", "webhook"],
];

/** @param {{ onClose: () => void, onSaved: (secrets: Record<string, string>) => Promise<void> }} props */
export function BotDialog({ onClose, onSaved }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    const bot = await createBot({
      id: fields.get("id"),
      adapter: fields.get("adapter"),
      config: JSON.parse(String(fields.get("config"))),
    });
    await onSaved(bot.generated_secrets);
  };
  return html`<${Dialog} title=${t("bot.add")} onClose=${onClose} isWide>
    <${Form} action=${t("action.add")} onSubmit=${save} onCancel=${onClose}>
      <div class="columns">
        <${TextField} label=${t("bot.id")} name="id" required hint=${t("bot.idHint")} autofocus />
        <${TextField} label=${t("bot.kind")} name="adapter" required list="bot-kinds" value="webhook" />
        <datalist id="bot-kinds">${KINDS.map((kind) => html`<option value=${kind}></option>`)}</datalist>
      </div>
      <${AreaField} label=${t("bot.config")} hint=${t("bot.configHint")} name="config" class="code" rows=${6} required spellcheck=${false} value=${'{\n  "url": "https://"\n}'} />
    <//>
  <//>`;
}
