/** Profiles: which model answers, and how. */

import { account, may } from "../account.js";
import { deleteProfile, listConfigs, listProfiles } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Confirm } from "../components/dialog.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";
import { ProfileDialog } from "./profile_dialog.js";

/** @typedef {{ id: string, name?: string, model?: string | null, provider?: string | null, problem: string | null }} Profile */

const DEFAULT = "default";

export default function Profiles() {
  const canSee = account.value.me?.username === null;
  const canEdit = canSee && may("admin");
  // A key of one user is shown names only.
  const profiles = useResource(/** @returns {Promise<Profile[]>} */ () => (canSee ? listProfiles() : listConfigs()), []);
  const [edited, setEdited] = useState(/** @type {string | null} */ (null));
  const [deleted, setDeleted] = useState(/** @type {Profile | null} */ (null));
  const create = canEdit && html`<${Button} kind="main" icon="plus" onClick=${() => setEdited("")}>${t("profile.create")}<//>`;
  /** @type {import("../components/table.js").Column<Profile>[]} */
  const columns = [
    { title: t("profile.name"), isMain: true, cell: (profile) => html`<span><bdi>${profile.name ?? profile.id}</bdi> ${profile.id === DEFAULT && html`<${Badge} tone="good">${t("profile.default")}<//>`}</span>` },
    { title: t("profile.id"), cell: (profile) => html`<code>${profile.id}</code>` },
    ...(canSee ? [{ title: t("profile.model"), cell: (/** @type {Profile} */ profile) => html`<bdi>${[profile.provider, profile.model].filter(Boolean).join(" / ") || t("profile.asServer")}</bdi>` }] : []),
    { title: t("profile.problem"), cell: (profile) => html`<span dir="auto">${profile.problem ?? "–"}</span>` },
    ...(canEdit
      ? [
          {
            title: t("table.actions"),
            isActions: true,
            cell: (/** @type {Profile} */ profile) => html`<${Button} kind="quiet" small icon="edit" label=${`${t("action.edit")}: ${profile.name ?? profile.id}`} onClick=${() => setEdited(profile.id)} />
              <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${profile.name ?? profile.id}`} onClick=${() => setDeleted(profile)} />`,
          },
        ]
      : []),
  ];
  return html`<${Page} title=${t("area.profiles")} intro=${t("profile.intro")} actions=${create}>
    <${Loaded} resource=${profiles}>
      ${(/** @type {Profile[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="profile" title=${t("profile.none")} action=${create}>${t("profile.noneText")}<//>`
          : html`<${Table} label=${t("area.profiles")} columns=${columns} rows=${list} keyOf=${(/** @type {Profile} */ each) => each.id} />`}
    <//>
    ${edited !== null &&
    html`<${ProfileDialog} id=${edited} onClose=${() => setEdited(null)}
      onSaved=${async () => {
        setEdited(null);
        await profiles.reload();
      }} />`}
    ${deleted &&
    html`<${Confirm} title=${t("profile.delete")} text=${t("profile.deleteText", { name: deleted.name ?? deleted.id })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteProfile(deleted.id);
        await profiles.reload();
      }} />`}
  <//>`;
}
