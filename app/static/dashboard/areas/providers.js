/** Model servers: where replies are made. */

import { deleteProvider, listProviders, saveProvider, testProvider } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { Form, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { messageOf } from "../components/toasts.js";
import { duration } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/manage.js").Provider} Provider */

export default function Providers() {
  const providers = useResource(listProviders, []);
  const [edited, setEdited] = useState(/** @type {Provider | "new" | null} */ (null));
  const [deleted, setDeleted] = useState(/** @type {Provider | null} */ (null));
  const add = html`<${Button} kind="main" icon="plus" onClick=${() => setEdited("new")}>${t("provider.add")}<//>`;
  /** @type {import("../components/table.js").Column<Provider>[]} */
  const columns = [
    { title: t("provider.id"), isMain: true, cell: (provider) => html`<span><bdi>${provider.id}</bdi> ${provider.is_default && html`<${Badge} tone="good">${t("profile.default")}<//>`}<br /><span class="detail">${provider.base_url}</span></span>` },
    { title: t("provider.model"), cell: (provider) => html`<bdi>${provider.default_model}</bdi>` },
    { title: t("provider.source"), cell: (provider) => t(provider.source === "api" ? "provider.fromApi" : "provider.fromSettings") },
    { title: t("provider.test"), cell: (provider) => html`<${Test} id=${provider.id} />` },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (provider) =>
        provider.source === "api" &&
        html`<${Button} kind="quiet" small icon="edit" label=${`${t("action.edit")}: ${provider.id}`} onClick=${() => setEdited(provider)} />
          <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${provider.id}`} onClick=${() => setDeleted(provider)} />`,
    },
  ];
  return html`<${Page} title=${t("area.providers")} intro=${t("provider.intro")} actions=${add}>
    <${Loaded} resource=${providers}>
      ${(/** @type {Provider[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="server" title=${t("provider.none")} action=${add} />`
          : html`<${Table} label=${t("area.providers")} columns=${columns} rows=${list} keyOf=${(/** @type {Provider} */ each) => each.id} />`}
    <//>
    ${edited &&
    html`<${ProviderDialog} provider=${edited === "new" ? null : edited} onClose=${() => setEdited(null)}
      onSaved=${async () => {
        setEdited(null);
        await providers.reload();
      }} />`}
    ${deleted &&
    html`<${Confirm} title=${t("provider.delete")} text=${t("provider.deleteText", { name: deleted.id })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteProvider(deleted.id);
        await providers.reload();
      }} />`}
  <//>`;
}

/** One real request, and how long it took.
 * @param {{ id: string }} props */
function Test({ id }) {
  const [outcome, setOutcome] = useState(/** @type {{ tone: "good" | "bad", text: string } | null} */ (null));
  const run = async () => {
    try {
      const { ok, milliseconds, error } = await testProvider(id);
      setOutcome(ok ? { tone: "good", text: duration(milliseconds) } : { tone: "bad", text: error ?? "" });
    } catch (error) {
      setOutcome({ tone: "bad", text: messageOf(error) });
    }
  };
  return html`<span class="row">
    <${Button} small onClick=${run}>${t("action.test")}<//>
    <span role="status">
      ${outcome?.tone === "good" && html`<${Badge} tone="good">${t("provider.answers", { time: outcome.text })}<//>`}
      ${outcome?.tone === "bad" && html`<${Badge} tone="bad">${t("check.failed")}<//> <span class="detail" dir="auto">${outcome.text}</span>`}
    </span>
  </span>`;
}

/** @param {{ provider: Provider | null, onClose: () => void, onSaved: () => Promise<void> }} props */
function ProviderDialog({ provider, onClose, onSaved }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    const text = (/** @type {string} */ name) => String(fields.get(name) ?? "").trim();
    const models = text("models").split(",").map((each) => each.trim()).filter(Boolean);
    const settings = { base_url: text("url"), default_model: text("model"), models, ...(text("key") ? { api_key: text("key") } : {}) };
    await saveProvider(provider?.id ?? text("id"), settings, provider === null);
    await onSaved();
  };
  return html`<${Dialog} title=${provider?.id ?? t("provider.add")} onClose=${onClose} isWide>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <div class="columns">
        ${!provider && html`<${TextField} label=${t("provider.id")} name="id" required autofocus />`}
        <${TextField} label=${t("provider.model")} name="model" value=${provider?.default_model} required />
      </div>
      <${TextField} label=${t("provider.url")} name="url" type="url" value=${provider?.base_url} required placeholder="https://api.example.com/v1" />
      <${TextField} label=${t("provider.key")} name="key" type="password" hint=${t(provider ? "provider.keyAgain" : "provider.keyHint")} />
      <${TextField} label=${t("provider.models")} name="models" value=${provider?.models.join(", ")} hint=${t("key.listHint")} />
    <//>
  <//>`;
}
