/** One message of a conversation. */

import { getRun } from "../api/chat.js";
import { Icon } from "../components/icon.js";
import { dateTime, number, shortTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { useStore } from "../lib/store.js";
import { html, useState } from "../lib/view.js";
import { ApprovalsView } from "./approvals_view.js";
import { MessageEditor } from "./message_editor.js";
import { MessageTools } from "./message_tools.js";
import { PartsView } from "./parts_view.js";
import { RefsView } from "./refs_view.js";
import { Reply } from "./reply.js";

/** @typedef {import("./entries.js").Entry} Entry */

/** What a message without a reply in the making follows. */
const NO_REPLY = new Reply("");

/** A message, stored or in the making: what is drawn of it stays when it is stored.
 * @param {{ entry: Entry, turns: import("./turns.js").Turns }} props */
export function MessageView({ entry, turns }) {
  const [isEdited, setEdited] = useState(false);
  const live = useStore(entry.reply ?? NO_REPLY);
  const { reasoning, refs, parts } = entry.reply ? live : entry;
  const isLive = entry.reply !== null && live.state !== "over";
  return html`<article class=${`message ${entry.role}`} aria-label=${t(entry.role === "user" ? "chat.you" : "chat.reply")}>
    ${isEdited
      ? html`<${MessageEditor} entry=${entry} turns=${turns} onClose=${() => setEdited(false)} />`
      : html`<${Body} reasoning=${reasoning} refs=${refs} parts=${parts} isLive=${isLive} />`}
    ${entry.reply ? html`<${LiveEnd} reply=${entry.reply} />` : html`<${StoredEnd} entry=${entry} turns=${turns} onEdit=${() => setEdited(true)} />`}
  </article>`;
}

/** What stands below a stored message.
 * @param {{ entry: Entry, turns: import("./turns.js").Turns, onEdit: () => void }} props */
function StoredEnd({ entry, turns, onEdit }) {
  return html`${entry.status === "partial" && html`<p class="state">${t("chat.partial")}</p>`}
    ${entry.status === "failed" && html`<${Failure} runId=${entry.runId} />`}
    <footer>
      ${entry.status === "sending" && html`<span class="time">${t("chat.sending")}</span>`}
      ${entry.createdAt && html`<time class="time" datetime=${entry.createdAt} title=${dateTime(entry.createdAt)}>${shortTime(entry.createdAt)}</time>`}
      ${entry.usage && html`<span class="time">${t("chat.tokens", { count: number(entry.usage.output) })}</span>`}
      <${MessageTools} entry=${entry} turns=${turns} onEdit=${onEdit} />
    </footer>`;
}

/** What stands below a reply in the making.
 * @param {{ reply: Reply }} props */
function LiveEnd({ reply }) {
  const { approvals, state, isCut, error } = useStore(reply);
  return html`<${ApprovalsView} reply=${reply} approvals=${approvals} />
    ${state !== "over" &&
    html`<p class="state">
      <span class="writing" aria-hidden="true"><i></i><i></i><i></i></span>
      ${t(isCut ? "chat.reconnecting" : state === "waiting" ? "chat.waiting" : "chat.writing")}
    </p>`}
    ${error && html`<${ErrorLine} text=${error.text} code=${error.code} />`}
    <footer></footer>`;
}

/** @param {{ reasoning: string, refs: any[], parts: import("./reply.js").Part[], isLive: boolean }} props */
function Body({ reasoning, refs, parts, isLive }) {
  return html`${refs.length > 0 && html`<${RefsView} refs=${refs} />`}
    ${reasoning &&
    html`<details class="reasoning">
      <summary><${Icon} name="pulse" size=${16} />${t("chat.reasoning")}</summary>
      <p dir="auto">${reasoning}</p>
    </details>`}
    <div class="body"><${PartsView} parts=${parts} isLive=${isLive} /></div>`;
}

/** Why a stored reply failed, as its run says.
 * @param {{ runId: string | null }} props */
function Failure({ runId }) {
  const run = useResource(async () => (runId ? getRun(runId) : null), [runId]);
  return html`<${ErrorLine} text=${run.data?.error ?? t("chat.failed")} code=${run.data?.error_code ?? ""} />`;
}

/** @param {{ text: string, code: string }} props */
function ErrorLine({ text, code }) {
  return html`<p class="failure" role="alert"><${Icon} name="warning" size=${16} /><span dir="auto">${text}</span> <code>${code}</code></p>`;
}
