/** Calls of tools that wait for a yes or no, in all conversations. */

import { account, may } from "../account.js";
import { decideApproval, listWaitingApprovals } from "../api/chat.js";
import { Button } from "../components/button.js";
import { Empty, Loaded } from "../components/notice.js";
import { showNote } from "../components/toasts.js";
import { ago } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useRefreshing, useResource } from "../lib/resource.js";
import { addressOf } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html } from "../lib/view.js";

/** @typedef {import("../api/chat.js").ApprovalItem} Item */

const SECONDS = 5;

export function WaitingApprovals() {
  const { me, username } = useStore(account);
  const user = may("admin") && me?.username === null ? undefined : username;
  const waiting = useResource((signal) => listWaitingApprovals(user, signal), [user]);
  useRefreshing(() => waiting.reload(), SECONDS, [waiting.reload]);
  /** @param {Item} item @param {boolean} approve */
  const decide = async (item, approve) => {
    await decideApproval(item.run_id, item.approval_id, approve);
    showNote(t(approve ? "approval.approved" : "approval.denied", { name: item.name }));
    await waiting.reload();
  };
  return html`<section class="section">
    <h2>${t("approval.waiting")}</h2>
    <${Loaded} resource=${waiting}>
      ${(/** @type {{ approvals: Item[] }} */ { approvals }) =>
        approvals.length === 0
          ? html`<${Empty} icon="check" title=${t("approval.none")}>${t("approval.noneText")}<//>`
          : approvals.map((item) => html`<${Waiting} key=${item.approval_id} item=${item} isOwn=${item.username === username} onDecide=${decide} />`)}
    <//>
  </section>`;
}

/** @param {{ item: Item, isOwn: boolean, onDecide: (item: Item, approve: boolean) => Promise<void> }} props */
function Waiting({ item, isOwn, onDecide }) {
  return html`<section class="approval" aria-label=${`${t("approval.title")} ${item.name}`}>
    <p class="row">
      <bdi class="name">${item.name}</bdi>
      <span class="detail">${t("approval.askedBy", { user: item.username, time: ago(item.created_at) })}</span>
      ${isOwn && item.session_id && html`<a href=${addressOf("chat", item.session_id)}>${t("approval.open")}</a>`}
    </p>
    <pre tabindex="0" role="region" aria-label=${`${t("tool.arguments")}: ${item.name}`} dir="auto">${JSON.stringify(item.args, null, 2)}</pre>
    <div class="row">
      <${Button} kind="main" small onClick=${() => onDecide(item, true)}>${t("approval.approve")}<//>
      <${Button} small onClick=${() => onDecide(item, false)}>${t("approval.deny")}<//>
    </div>
  </section>`;
}
