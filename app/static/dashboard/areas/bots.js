/** Bots: where Palaver sends messages on platforms. */

import { changeBot, createBot, deleteBot, listBots } from "../api/manage.js";
import { Button } from "../components/button.js";
import { CopyBlock } from "../components/copy.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { AreaField, Form, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { dateTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").Bot} Bot */

export default function Bots() {
  const bots = useResource(listBots, []);
  const [isAdding, setAdding] = useState(false);
  const [secrets, setSecrets] = useState(/** @type {Record<string, string> | null} */ (null));
  const [deleted, setDeleted] = useState(/** @type {Bot | null} */ (null));
  const add = html`<${Button} kind="main" icon="plus" onClick=${() => setAdding(true)}>${t("bot.add")}<//>`;
  /** @param {Bot} bot */
  const toggle = async (bot) => {
    await changeBot(bot.id, { enabled: !bot.enabled });
    await bots.reload();
  };
  /** @type {import("../components/table.js").Column<Bot>[]} */
  const columns = [
    { title: t("bot.name"), isMain: true, cell: (bot) => html`<span><bdi>${bot.name}</bdi><br /><code class="detail">${bot.id}</code></span>` },
    { title: t("bot.kind"), cell: (bot) => bot.adapter },
    { title: t("bot.state"), cell: (bot) => html`<${Badge} tone=${bot.enabled ? "good" : "plain"}>${t(bot.enabled ? "bot.enabled" : "bot.disabled")}<//>` },
    { title: t("bot.changed"), cell: (bot) => dateTime(bot.updated_at) },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (bot) => html`<${Button} small onClick=${() => toggle(bot)}>${t(bot.enabled ? "bot.disable" : "bot.enable")}<//>
        <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${bot.name}`} onClick=${() => setDeleted(bot)} />`,
    },
  ];
  return html`<${Page} title=${t("area.bots")} intro=${t("bot.intro")} actions=${add}>
    <${Loaded} resource=${bots}>
      ${(/** @type {Bot[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="bot" title=${t("bot.none")} action=${add}>${t("bot.noneText")}<//>`
          : html`<${Table} label=${t("area.bots")} columns=${columns} rows=${list} keyOf=${(/** @type {Bot} */ bot) => bot.id} />`}
    <//>
    ${isAdding &&
    html`<${BotDialog} onClose=${() => setAdding(false)}
      onSaved=${async (/** @type {Record<string, string>} */ generated) => {
        setAdding(false);
        if (Object.keys(generated).length) setSecrets(generated);
        await bots.reload();
      }} />`}
    ${secrets &&
    html`<${Dialog} title=${t("bot.secrets")} onClose=${() => setSecrets(null)} isWide>
      <p>${t("bot.secretsText")}</p>
      ${Object.entries(secrets).map(([name, text]) => html`<p><code>${name}</code></p><${CopyBlock} text=${text} label=${name} />`)}
      <footer><${Button} kind="main" onClick=${() => setSecrets(null)}>${t("key.stored")}<//></footer>
    <//>`}
    ${deleted &&
    html`<${Confirm} title=${t("bot.delete")} text=${t("bot.deleteText", { name: deleted.name })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteBot(deleted.id);
        await bots.reload();
      }} />`}
  <//>`;
}

/** @param {{ onClose: () => void, onSaved: (secrets: Record<string, string>) => Promise<void> }} props */
function BotDialog({ onClose, onSaved }) {
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
        <${TextField} label=${t("bot.kind")} name="adapter" required value="webhook" />
      </div>
      <${AreaField} label=${t("bot.config")} name="config" class="code" rows=${6} required spellcheck=${false} value=${'{\n  "url": "https://"\n}'} />
    <//>
  <//>`;
}
