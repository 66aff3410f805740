/** Roles: ways for a bot to speak, under a name. */

import { may } from "../account.js";
import { deleteRole, listRoles, saveRole } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { AreaField, CheckField, Form, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge } from "../components/table.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").Role} Role */

export default function Roles() {
  const roles = useResource(listRoles, []);
  const [edited, setEdited] = useState(/** @type {Role | "new" | null} */ (null));
  const [deleted, setDeleted] = useState(/** @type {Role | null} */ (null));
  const create = html`<${Button} kind="main" icon="plus" onClick=${() => setEdited("new")}>${t("role.create")}<//>`;
  return html`<${Page} title=${t("area.roles")} intro=${t("role.intro")} actions=${create}>
    <${Loaded} resource=${roles}>
      ${(/** @type {Role[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="role" title=${t("role.none")} action=${create}>${t("role.noneText")}<//>`
          : html`<ul class="cards">
              ${list.map((role) => html`<${RoleCard} key=${role.uuid} role=${role} onEdit=${() => setEdited(role)} onDelete=${() => setDeleted(role)} />`)}
            </ul>`}
    <//>
    ${edited &&
    html`<${RoleDialog} role=${edited === "new" ? null : edited} onClose=${() => setEdited(null)}
      onSaved=${async () => {
        setEdited(null);
        await roles.reload();
      }} />`}
    ${deleted &&
    html`<${Confirm} title=${t("role.delete")} text=${t("role.deleteText", { name: deleted.name })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteRole(deleted.uuid);
        await roles.reload();
      }} />`}
  <//>`;
}

/** @param {{ role: Role, onEdit: () => void, onDelete: () => void }} props */
function RoleCard({ role, onEdit, onDelete }) {
  return html`<li class="card">
    <div class="section-header row">
      <h2 dir="auto">${[...role.icon].length <= 2 && role.icon} ${role.name}</h2>
      ${!role.is_active && html`<${Badge} tone="wait">${t("role.inactive")}<//>`}
    </div>
    <p class="hint" dir="auto">${role.description}</p>
    <p class="excerpt" dir="auto">${role.system_prompt ?? t("role.hidden")}</p>
    <div class="row card-end">
      <span class="hint"><bdi>${role.owner || t("knowledge.shared")}</bdi></span>
      <span class="row">
        <${Button} kind="quiet" small icon="edit" label=${`${t("action.edit")}: ${role.name}`} onClick=${onEdit} />
        <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${role.name}`} onClick=${onDelete} />
      </span>
    </div>
  </li>`;
}

/** @param {{ role: Role | null, onClose: () => void, onSaved: () => Promise<void> }} props */
function RoleDialog({ role, onClose, onSaved }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    await saveRole(role?.uuid ?? null, {
      name: fields.get("name"),
      description: fields.get("description"),
      system_prompt: fields.get("prompt"),
      icon: fields.get("icon"),
      is_active: fields.has("active"),
      enable_l0_retrieval: fields.has("retrieval"),
    });
    await onSaved();
  };
  return html`<${Dialog} title=${role ? role.name : t("role.create")} onClose=${onClose} isWide>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <div class="columns">
        <${TextField} label=${t("role.name")} name="name" value=${role?.name} required maxlength="100" autofocus />
        <${TextField} label=${t("role.icon")} name="icon" value=${role?.icon} hint=${t("role.iconHint")} />
      </div>
      <${TextField} label=${t("role.description")} name="description" value=${role?.description} maxlength="500" />
      <${AreaField} label=${t("role.prompt")} name="prompt" value=${role?.system_prompt} required rows=${10} hint=${t("role.promptHint")} />
      <${CheckField} label=${t("role.active")} name="active" checked=${role?.is_active ?? true} />
      ${may("knowledge") && html`<${CheckField} label=${t("role.retrieval")} name="retrieval" checked=${role?.enable_l0_retrieval ?? false} />`}
    <//>
  <//>`;
}
