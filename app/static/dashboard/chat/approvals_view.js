/** Calls of tools that wait for a yes or no. */

import { decideApproval } from "../api/chat.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

/** @param {{ reply: import("./reply.js").Reply, approvals: import("./reply.js").WaitingApproval[] }} props */
export function ApprovalsView({ reply, approvals }) {
  /** @param {string} id @param {boolean} approve */
  const decide = async (id, approve) => {
    await decideApproval(reply.runId, id, approve);
    reply.put({ approvals: reply.next.approvals.filter((approval) => approval.approval_id !== id) });
  };
  return approvals.map(
    (approval) => html`<section class="approval" key=${approval.approval_id} aria-label=${t("approval.title")}>
      <p><${Icon} name="warning" size=${16} />${t("approval.title")} <bdi class="name">${approval.name}</bdi></p>
      <pre tabindex="0" role="region" aria-label=${t("tool.arguments")} dir="auto">${JSON.stringify(approval.args, null, 2)}</pre>
      <div class="row">
        <${Button} kind="main" small onClick=${() => decide(approval.approval_id, true)}>${t("approval.approve")}<//>
        <${Button} small onClick=${() => decide(approval.approval_id, false)}>${t("approval.deny")}<//>
      </div>
    </section>`,
  );
}
