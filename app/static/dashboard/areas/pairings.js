/** People who wrote to a bot and wait to be let in. */

import { decidePairing, listPairings } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { Empty, Loaded } from "../components/notice.js";
import { Badge, Table } from "../components/table.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html } from "../lib/view.js";

/** @typedef {Awaited<ReturnType<typeof listPairings>>[number]} Pairing */

/** @param {{ botId: string, onClose: () => void }} props */
export function PairingsDialog({ botId, onClose }) {
  const pairings = useResource(() => listPairings(botId), [botId]);
  /** @param {Pairing} pairing @param {boolean} approve */
  const decide = async (pairing, approve) => {
    await decidePairing(botId, pairing.code, approve);
    await pairings.reload();
  };
  /** @type {import("../components/table.js").Column<Pairing>[]} */
  const columns = [
    { title: t("pairing.sender"), isMain: true, cell: ({ sender_name, sender_id }) => html`<bdi>${sender_name || sender_id}</bdi>` },
    { title: t("pairing.code"), cell: ({ code }) => html`<code>${code}</code>` },
    {
      title: t("pairing.state"),
      cell: (pairing) =>
        pairing.approved === null
          ? html`<span class="row">
              <${Button} small kind="main" onClick=${() => decide(pairing, true)}>${t("approval.approve")}<//>
              <${Button} small onClick=${() => decide(pairing, false)}>${t("approval.deny")}<//>
            </span>`
          : html`<${Badge} tone=${pairing.approved ? "good" : "bad"}>${t(pairing.approved ? "pairing.approved" : "pairing.denied")}<//>`,
    },
  ];
  return html`<${Dialog} title=${t("bot.pairings")} onClose=${onClose} isWide>
    <${Loaded} resource=${pairings}>
      ${(/** @type {Pairing[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="role" title=${t("pairing.none")}>${t("pairing.noneText")}<//>`
          : html`<${Table} label=${t("bot.pairings")} columns=${columns} rows=${list} keyOf=${(/** @type {Pairing} */ { code }) => code} />`}
    <//>
  <//>`;
}
