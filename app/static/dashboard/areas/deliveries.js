/** Messages to platforms: what became of each, and another try. */

import { changeDelivery, listDeliveries } from "../api/manage.js";
import { Button } from "../components/button.js";
import { Empty, Loaded } from "../components/notice.js";
import { Badge, Table } from "../components/table.js";
import { dateTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useRefreshing, useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").Schemas["DeliveryItem"]} Delivery */

const STATES = ["queued", "sending", "sent", "partial", "unknown", "dead", "expired", "cancelled"];
const TONES = /** @type {Record<string, "good" | "bad" | "wait" | "plain">} */ ({
  ...{ sent: "good", queued: "wait", sending: "wait", cancelled: "plain" },
});
const OPEN = ["queued", "sending"];

export function Deliveries() {
  const [state, setState] = useState("");
  const deliveries = useResource(() => listDeliveries({ state }), [state]);
  useRefreshing(() => deliveries.reload(), 5, [deliveries.reload]);
  /** @param {Delivery} delivery @param {"retry" | "cancel"} action */
  const change = async (delivery, action) => {
    await changeDelivery(delivery.delivery_id, action);
    await deliveries.reload();
  };
  /** @type {import("../components/table.js").Column<Delivery>[]} */
  const columns = [
    { title: t("delivery.to"), isMain: true, cell: ({ umo }) => html`<bdi>${umo}</bdi>` },
    { title: t("delivery.state"), cell: (delivery) => html`<span><${Badge} tone=${TONES[delivery.state] ?? "bad"}>${t(/** @type {any} */ (`delivery.${delivery.state}`))}<//>${delivery.error && html`<br /><span class="detail" dir="auto">${delivery.error}</span>`}</span>` },
    { title: t("delivery.attempts"), isNumber: true, cell: ({ attempts }) => attempts },
    { title: t("delivery.at"), cell: ({ created_at }) => dateTime(created_at) },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (delivery) =>
        OPEN.includes(delivery.state)
          ? html`<${Button} small onClick=${() => change(delivery, "cancel")}>${t("action.cancel")}<//>`
          : delivery.state !== "sent" && html`<${Button} small icon="again" onClick=${() => change(delivery, "retry")}>${t("action.retry")}<//>`,
    },
  ];
  return html`<section class="section">
    <div class="section-header">
      <h2>${t("delivery.title")}</h2>
      <select aria-label=${t("delivery.state")} onChange=${(/** @type {any} */ event) => setState(event.target.value)}>
        <option value="">${t("delivery.all")}</option>
        ${STATES.map((each) => html`<option value=${each} selected=${each === state}>${t(/** @type {any} */ (`delivery.${each}`))}</option>`)}
      </select>
    </div>
    <${Loaded} resource=${deliveries}>
      ${(/** @type {{ deliveries: Delivery[] }} */ { deliveries: list }) =>
        list.length === 0
          ? html`<${Empty} icon="send" title=${t("delivery.none")}>${t("delivery.noneText")}<//>`
          : html`<${Table} label=${t("delivery.title")} columns=${columns} rows=${list} keyOf=${(/** @type {Delivery} */ each) => each.delivery_id} />`}
    <//>
  </section>`;
}
