/** Bots: where Palaver talks with people on other platforms, and what became of its messages. */

import { may } from "../account.js";
import { changeBot, deleteBot, listBots, testBot } from "../api/manage.js";
import { Button } from "../components/button.js";
import { CopyBlock } from "../components/copy.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { showNote } from "../components/toasts.js";
import { dateTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";
import { BotDialog } from "./bot_dialog.js";
import { Deliveries } from "./deliveries.js";
import { PairingsDialog } from "./pairings.js";

/** @typedef {import("../api/types.js").Bot & { connection?: { state: string, last_error?: string | null } | null }} Bot */
/** @typedef {{ kind: "add" } | { kind: "edit" | "pairings" | "delete", bot: Bot } | { kind: "secrets", secrets: Record<string, string> }} Open */

export default function Bots() {
  const [open, setOpen] = useState(/** @type {Open | null} */ (null));
  const add = may("admin") && html`<${Button} kind="main" icon="plus" onClick=${() => setOpen({ kind: "add" })}>${t("bot.add")}<//>`;
  return html`<${Page} title=${t("area.bots")} intro=${t("bot.intro")} actions=${add}>
    ${may("admin") && html`<${BotSection} open=${open} setOpen=${setOpen} add=${add} />`} <${Deliveries} />
  <//>`;
}

/** @param {{ open: Open | null, setOpen: (open: Open | null) => void, add: any }} props */
function BotSection({ open, setOpen, add }) {
  const bots = useResource(listBots, []);
  const close = () => setOpen(null);
  return html`<section>
    <${Loaded} resource=${bots}>
      ${(/** @type {Bot[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="bot" title=${t("bot.none")} action=${add}>${t("bot.noneText")}<//>`
          : html`<${BotTable} bots=${list} onOpen=${setOpen} onChanged=${bots.reload} />`}
    <//>
    ${(open?.kind === "add" || open?.kind === "edit") &&
    html`<${BotDialog} bot=${open.kind === "edit" ? open.bot : null} onClose=${close}
      onSaved=${async (/** @type {Record<string, string>} */ secrets) => {
        setOpen(Object.keys(secrets).length ? { kind: "secrets", secrets } : null);
        await bots.reload();
      }} />`}
    ${open?.kind === "pairings" && html`<${PairingsDialog} botId=${open.bot.id} onClose=${close} />`}
    ${open?.kind === "secrets" &&
    html`<${Dialog} title=${t("bot.secrets")} onClose=${close} isWide>
      <p>${t("bot.secretsText")}</p>
      ${Object.entries(open.secrets).map(([name, text]) => html`<p><code>${name}</code></p><${CopyBlock} text=${text} label=${name} />`)}
      <footer><${Button} kind="main" onClick=${close}>${t("key.stored")}<//></footer>
    <//>`}
    ${open?.kind === "delete" &&
    html`<${Confirm} title=${t("bot.delete")} text=${t("bot.deleteText", { name: open.bot.name })} action=${t("action.delete")} onClose=${close}
      onConfirm=${async () => {
        await deleteBot(open.bot.id);
        await bots.reload();
      }} />`}
  </section>`;
}

/** @param {{ bots: Bot[], onOpen: (open: Open) => void, onChanged: () => Promise<void> }} props */
function BotTable({ bots, onOpen, onChanged }) {
  /** @param {Bot} bot */
  const toggle = async (bot) => {
    await changeBot(bot.id, { enabled: !bot.enabled });
    await onChanged();
  };
  /** @param {Bot} bot */
  const test = async (bot) => {
    const { id, name } = await testBot(bot.id);
    showNote(t("bot.works", { name: name || id }));
    await onChanged();
  };
  /** @type {import("../components/table.js").Column<Bot>[]} */
  const columns = [
    { title: t("bot.name"), isMain: true, cell: (bot) => html`<span><bdi>${bot.name}</bdi><br /><code class="detail">${bot.id}</code></span>` },
    { title: t("bot.kind"), cell: (bot) => bot.adapter },
    { title: t("bot.state"), cell: stateOf },
    { title: t("bot.changed"), cell: (bot) => dateTime(bot.updated_at) },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (bot) => html`<${Button} small onClick=${() => test(bot)}>${t("action.test")}<//>
        <${Button} small onClick=${() => onOpen({ kind: "pairings", bot })}>${t("bot.pairings")}<//>
        <${Button} small onClick=${() => toggle(bot)}>${t(bot.enabled ? "bot.disable" : "bot.enable")}<//>
        <${Button} kind="quiet" small icon="edit" label=${`${t("action.edit")}: ${bot.name}`} onClick=${() => onOpen({ kind: "edit", bot })} />
        <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${bot.name}`} onClick=${() => onOpen({ kind: "delete", bot })} />`,
    },
  ];
  return html`<${Table} label=${t("area.bots")} columns=${columns} rows=${bots} keyOf=${(/** @type {Bot} */ bot) => bot.id} />`;
}

/** @param {Bot} bot */
function stateOf(bot) {
  if (!bot.enabled) return html`<${Badge}>${t("bot.disabled")}<//>`;
  if (!bot.connection) return html`<${Badge} tone="good">${t("bot.enabled")}<//>`;
  const { state, last_error } = bot.connection;
  return html`<span
    ><${Badge} tone=${state === "connected" ? "good" : state === "failed" ? "bad" : "wait"}>${state}<//>${last_error && html`<br /><span class="detail" dir="auto">${last_error}</span>`}</span
  >`;
}
