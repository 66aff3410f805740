/** Keys: who may call, and what for. */

import { createKey, deleteKey, listKeys, revokeKey, rotateKey } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { CheckField, Form, SelectField, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { ago, dateTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";
import { KeyDialog, limitsOf } from "./key_limits.js";
import { NewKeyDialog } from "./new_key.js";

/** @typedef {import("../api/types.js").ApiKey} ApiKey */
/** @typedef {{ kind: "create" } | { kind: "change" | "rotate" | "revoke" | "delete", key: ApiKey } | { kind: "shown", key: import("../api/types.js").NewApiKey }} Open */

const SCOPES = ["chat", "config", "file", "im", "knowledge", "admin"];
const TONES = /** @type {const} */ ({ live: "good", expired: "wait", revoked: "bad", blocked: "bad" });

export default function Keys() {
  const keys = useResource(listKeys, []);
  const [open, setOpen] = useState(/** @type {Open | null} */ (null));
  const close = () => setOpen(null);
  /** @param {import("../api/types.js").NewApiKey} key */
  const show = (key) => {
    setOpen({ kind: "shown", key });
    keys.reload();
  };
  const create = html`<${Button} kind="main" icon="plus" onClick=${() => setOpen({ kind: "create" })}>${t("key.create")}<//>`;
  return html`<${Page} title=${t("area.keys")} intro=${t("key.intro")} actions=${create}>
    <${Loaded} resource=${keys}>${(/** @type {ApiKey[]} */ list) => html`<${KeyTable} keys=${list} onOpen=${setOpen} />`}<//>
    ${open?.kind === "create" && html`<${CreateDialog} onClose=${close} onCreated=${show} />`}
    ${open?.kind === "shown" && html`<${NewKeyDialog} apiKey=${open.key} onClose=${close} />`}
    ${open?.kind === "change" &&
    html`<${KeyDialog} apiKey=${open.key} onClose=${close}
      onSaved=${async () => {
        close();
        await keys.reload();
      }} />`}
    ${open?.kind === "rotate" && html`<${RotateDialog} apiKey=${open.key} onClose=${close} onRotated=${show} />`}
    ${open?.kind === "revoke" &&
    html`<${Confirm} title=${t("key.revoke")} text=${t("key.revokeText", { name: open.key.name })} action=${t("key.revoke")} onClose=${close}
      onConfirm=${async () => {
        await revokeKey(open.key.key_id);
        await keys.reload();
      }} />`}
    ${open?.kind === "delete" &&
    html`<${Confirm} title=${t("key.delete")} text=${t("key.deleteText", { name: open.key.name })} action=${t("action.delete")} onClose=${close}
      onConfirm=${async () => {
        await deleteKey(open.key.key_id);
        await keys.reload();
      }} />`}
  <//>`;
}

/** @param {{ keys: ApiKey[], onOpen: (open: Open) => void }} props */
function KeyTable({ keys, onOpen }) {
  if (keys.length === 0) return html`<${Empty} icon="key" title=${t("key.none")}>${t("key.noneText")}<//>`;
  /** @type {import("../components/table.js").Column<ApiKey>[]} */
  const columns = [
    { title: t("key.name"), isMain: true, cell: (key) => html`<span><bdi>${key.name}</bdi><br /><code class="detail">${key.prefix}…</code></span>` },
    { title: t("key.scopes"), cell: (key) => html`<span class="badges">${key.scopes.map((scope) => html`<${Badge}>${scope}<//>`)}</span>` },
    { title: t("key.user"), cell: (key) => html`<bdi>${key.username ?? t("key.anyUser")}</bdi>` },
    { title: t("key.status"), cell: (key) => html`<span><${Badge} tone=${TONES[key.status]}>${t(`key.${key.status}`)}<//>${key.expires_at && html`<br /><span class="detail">${t("key.until", { time: dateTime(key.expires_at) })}</span>`}</span>` },
    { title: t("key.limits"), cell: (key) => html`<span class="detail">${limitsOf(key)}</span>` },
    { title: t("key.used"), cell: (key) => html`<span title=${dateTime(key.last_used_at)}>${ago(key.last_used_at)}</span>` },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (key) => html`${(key.status === "live" || key.status === "blocked") &&
        html`<${Button} kind="quiet" small icon="edit" label=${`${t("key.change")}: ${key.name}`} onClick=${() => onOpen({ kind: "change", key })} />
          <${Button} kind="quiet" small icon="again" label=${`${t("key.rotate")}: ${key.name}`} onClick=${() => onOpen({ kind: "rotate", key })} />
          <${Button} kind="quiet" small icon="ban" label=${`${t("key.revoke")}: ${key.name}`} onClick=${() => onOpen({ kind: "revoke", key })} />`}
        <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${key.name}`} onClick=${() => onOpen({ kind: "delete", key })} />`,
    },
  ];
  return html`<${Table} label=${t("area.keys")} columns=${columns} rows=${keys} keyOf=${(/** @type {ApiKey} */ key) => key.key_id} />`;
}

/** @param {{ onClose: () => void, onCreated: (key: import("../api/types.js").NewApiKey) => void }} props */
function CreateDialog({ onClose, onCreated }) {
  /** @param {FormData} fields */
  const create = async (fields) => {
    const days = String(fields.get("days"));
    onCreated(
      await createKey({
        name: fields.get("name"),
        scopes: fields.getAll("scopes"),
        username: String(fields.get("username")).trim() || undefined,
        expires_in_days: days ? Number(days) : undefined,
      }),
    );
  };
  return html`<${Dialog} title=${t("key.create")} onClose=${onClose}>
    <${Form} action=${t("action.create")} onSubmit=${create} onCancel=${onClose}>
      <${TextField} label=${t("key.name")} hint=${t("key.nameHint")} name="name" required maxlength="100" autofocus />
      <fieldset>
        <legend>${t("key.scopes")}</legend>
        <div class="checks">
          ${SCOPES.map((scope) => html`<${CheckField} label=${scope} name="scopes" value=${scope} checked=${scope === "chat"} />`)}
        </div>
      </fieldset>
      <div class="columns">
        <${TextField} label=${t("key.user")} hint=${t("key.userHint")} name="username" maxlength="255" />
        <${SelectField} label=${t("key.expires")} name="days" options=${[
          { value: "", label: t("key.neverExpires") },
          ...["7", "30", "90", "365"].map((value) => ({ value, label: t("key.days", { count: value }) })),
        ]} />
      </div>
    <//>
  <//>`;
}

/** @param {{ apiKey: ApiKey, onClose: () => void, onRotated: (key: import("../api/types.js").NewApiKey) => void }} props */
function RotateDialog({ apiKey, onClose, onRotated }) {
  /** @param {FormData} fields */
  const rotate = async (fields) => onRotated(await rotateKey(apiKey.key_id, Number(fields.get("overlap"))));
  return html`<${Dialog} title=${t("key.rotate")} onClose=${onClose}>
    <${Form} action=${t("key.rotate")} onSubmit=${rotate} onCancel=${onClose}>
      <p dir="auto">${t("key.rotateText", { name: apiKey.name })}</p>
      <${SelectField} label=${t("key.overlap")} name="overlap" value="3600" options=${[
        { value: "0", label: t("key.overlapNone") },
        { value: "3600", label: t("key.overlapHour") },
        { value: "86400", label: t("key.overlapDay") },
        { value: "604800", label: t("key.overlapWeek") },
      ]} />
    <//>
  <//>`;
}
