/** Tools: what models can call, and the MCP servers that some of it comes from. */

import { may } from "../account.js";
import { deleteMcpServer, listMcpServers, listTools, putMcpServer, testMcpServer } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { AreaField, CheckField, Form, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { showNote } from "../components/toasts.js";
import { t } from "../lib/i18n.js";
import { useRefreshing, useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";
import { WaitingApprovals } from "./approvals.js";

/** @typedef {import("../api/types.js").McpServer} Server */

const TONES = /** @type {Record<string, "good" | "bad" | "wait" | "plain">} */ ({
  connected: "good",
  connecting: "wait",
  failed: "bad",
  disabled: "plain",
});

export default function Tools() {
  return html`<${Page} title=${t("area.tools")} intro=${t("tool.intro")}>
    <${WaitingApprovals} />${may("admin") && html`<${Servers} />`}<${ToolList} />
  <//>`;
}

function Servers() {
  const servers = useResource(listMcpServers, []);
  const [isAdding, setAdding] = useState(false);
  const [deleted, setDeleted] = useState(/** @type {Server | null} */ (null));
  useRefreshing(() => servers.data?.some(({ state }) => state === "connecting") && servers.reload(), 3, [servers.data]);
  /** @param {Server} server */
  const test = async (server) => {
    const { state, tools, error } = await testMcpServer(server.name);
    showNote(state === "connected" ? t("mcp.works", { name: server.name, count: tools.length }) : (error ?? state));
    await servers.reload();
  };
  /** @type {import("../components/table.js").Column<Server>[]} */
  const columns = [
    { title: t("mcp.name"), isMain: true, cell: (server) => html`<span><bdi>${server.name}</bdi><br /><span class="detail">${server.url ?? server.transport}</span></span>` },
    {
      title: t("mcp.state"),
      cell: (server) => html`<span><${Badge} tone=${TONES[server.state]}>${t(/** @type {any} */ (`mcp.${server.state}`))}<//>${server.error && html`<br /><span class="detail" dir="auto">${server.error}</span>`}</span>`,
    },
    { title: t("mcp.tools"), isNumber: true, cell: (server) => server.tools.length },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (server) => html`<${Button} small onClick=${() => test(server)}>${t("action.test")}<//>
        ${server.source === "api" && html`<${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${server.name}`} onClick=${() => setDeleted(server)} />`}`,
    },
  ];
  return html`<section class="section">
    <div class="section-header">
      <h2>${t("mcp.servers")}</h2>
      <${Button} small icon="plus" onClick=${() => setAdding(true)}>${t("mcp.add")}<//>
    </div>
    <${Loaded} resource=${servers}>
      ${(/** @type {Server[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="tool" title=${t("mcp.none")}>${t("mcp.noneText")}<//>`
          : html`<${Table} label=${t("mcp.servers")} columns=${columns} rows=${list} keyOf=${(/** @type {Server} */ each) => each.name} />`}
    <//>
    ${isAdding &&
    html`<${ServerDialog} onClose=${() => setAdding(false)}
      onSaved=${async () => {
        setAdding(false);
        await servers.reload();
      }} />`}
    ${deleted &&
    html`<${Confirm} title=${t("mcp.delete")} text=${t("mcp.deleteText", { name: deleted.name })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteMcpServer(deleted.name);
        await servers.reload();
      }} />`}
  </section>`;
}

/** @param {{ onClose: () => void, onSaved: () => Promise<void> }} props */
function ServerDialog({ onClose, onSaved }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    const lines = String(fields.get("headers")).split("\n").filter((line) => line.includes(":"));
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(":")).trim(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    await putMcpServer(String(fields.get("name")), { url: fields.get("url"), headers, enabled: fields.has("enabled") });
    await onSaved();
  };
  return html`<${Dialog} title=${t("mcp.add")} onClose=${onClose}>
    <${Form} action=${t("action.add")} onSubmit=${save} onCancel=${onClose}>
      <${TextField} label=${t("mcp.name")} name="name" required pattern="[A-Za-z0-9_\\-]{1,32}" hint=${t("mcp.nameHint")} autofocus />
      <${TextField} label=${t("mcp.url")} name="url" type="url" required placeholder="https://" />
      <${AreaField} label=${t("mcp.headers")} name="headers" rows=${3} hint=${t("mcp.headersHint")} class="code" spellcheck=${false} />
      <${CheckField} label=${t("mcp.enabled")} name="enabled" checked />
    <//>
  <//>`;
}

function ToolList() {
  const tools = useResource(() => listTools(), []);
  return html`<section class="section">
    <h2>${t("tool.all")}</h2>
    <${Loaded} resource=${tools}>
      ${(/** @type {Awaited<ReturnType<typeof listTools>>} */ list) =>
        list.map(
          (tool) => html`<details class="tool-call" key=${tool.name}>
            <summary><bdi class="name">${tool.name}</bdi><span class="about-short" dir="auto">${tool.description.split(/(?<=\.)\s/)[0]}</span>${tool.server && html`<${Badge}><bdi>${tool.server}</bdi><//>`}</summary>
            <p class="about" dir="auto">${tool.description}</p>
            <p class="label">${t("tool.arguments")}</p>
            <pre tabindex="0" role="region" aria-label=${`${t("tool.arguments")}: ${tool.name}`}>${JSON.stringify(tool.parameters, null, 2)}</pre>
          </details>`,
        )}
    <//>
  </section>`;
}
