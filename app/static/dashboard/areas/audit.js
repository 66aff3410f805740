/** The log of changes: who did what, and from where. */

import { listAudit, listKeys } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Table } from "../components/table.js";
import { dateTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").AuditEntry} Entry */

export default function Audit() {
  const first = useResource(() => Promise.all([listAudit(null), listKeys()]), []);
  return html`<${Page} title=${t("area.audit")} intro=${t("audit.intro")}>
    <${Loaded} resource=${first}>
      ${(/** @type {[Awaited<ReturnType<typeof listAudit>>, import("../api/types.js").ApiKey[]]} */ [page, keys]) =>
        html`<${Entries} page=${page} names=${new Map(keys.map((key) => [key.key_id, key.name]))} />`}
    <//>
  <//>`;
}

/** @param {{ page: Awaited<ReturnType<typeof listAudit>>, names: Map<string, string> }} props */
function Entries({ page, names }) {
  const [{ entries, cursor }, setState] = useState({ entries: page.entries, cursor: page.next_cursor });
  if (entries.length === 0) return html`<${Empty} icon="log" title=${t("audit.none")} />`;
  const more = async () => {
    const next = await listAudit(cursor);
    setState({ entries: [...entries, ...next.entries], cursor: next.next_cursor });
  };
  /** @param {string | null} id */
  const nameOf = (id) => (id ? (names.get(id) ?? id) : t("audit.commandLine"));
  /** @type {import("../components/table.js").Column<Entry>[]} */
  const columns = [
    { title: t("audit.at"), cell: (entry) => dateTime(entry.at) },
    { title: t("audit.action"), isMain: true, cell: (entry) => html`<code>${entry.action}</code>` },
    { title: t("audit.target"), cell: (entry) => html`<bdi>${names.get(entry.target) || entry.target || "–"}</bdi>` },
    { title: t("audit.by"), cell: (entry) => html`<bdi>${nameOf(entry.key_id)}</bdi>` },
    { title: t("audit.from"), cell: (entry) => entry.address ?? "–" },
  ];
  return html`<${Table} label=${t("area.audit")} columns=${columns} rows=${entries} keyOf=${(/** @type {Entry} */ entry) => `${entry.at}${entry.action}${entry.target}`} />
    ${cursor && html`<p class="more"><${Button} onClick=${more}>${t("action.more")}<//></p>`}`;
}
