/** Profiles: which model answers, and how. */

import { listConfigs } from "../api/manage.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html } from "../lib/view.js";

/** @typedef {import("../api/types.js").Config} Config */

export default function Profiles() {
  const configs = useResource(listConfigs, []);
  /** @type {import("../components/table.js").Column<Config>[]} */
  const columns = [
    { title: t("profile.name"), isMain: true, cell: (config) => html`<bdi>${config.name}</bdi> ${config.is_default && html`<${Badge} tone="good">${t("profile.default")}<//>`}` },
    { title: t("profile.id"), cell: (config) => html`<code>${config.id}</code>` },
    { title: t("profile.file"), cell: (config) => html`<code>${config.path}</code>` },
    { title: t("profile.problem"), cell: (config) => html`<span dir="auto">${config.problem ?? "–"}</span>` },
  ];
  return html`<${Page} title=${t("area.profiles")} intro=${t("profile.intro")}>
    <${Loaded} resource=${configs}>
      ${(/** @type {Config[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="profile" title=${t("profile.none")} />`
          : html`<${Table} label=${t("area.profiles")} columns=${columns} rows=${list} keyOf=${(/** @type {Config} */ each) => each.id} />`}
    <//>
  <//>`;
}
