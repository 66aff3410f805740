/** A session's name, labels and export, and its end. */

import { exportAddress } from "../api/chat.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { Form, TextField } from "../components/form.js";
import { t } from "../lib/i18n.js";
import { go } from "../lib/router.js";
import { html, useState } from "../lib/view.js";
import { nameOf } from "./session_list.js";

/** @param {{ sessions: import("./sessions.js").Sessions, session: import("../api/types.js").Session, isCurrent: boolean, onClose: () => void }} props */
export function SessionDialog({ sessions, session, isCurrent, onClose }) {
  const [isDeleting, setDeleting] = useState(false);
  /** @param {FormData} fields */
  const save = async (fields) => {
    const labels = String(fields.get("labels")).split(",").map((label) => label.trim()).filter(Boolean);
    await sessions.change(session.session_id, { display_name: String(fields.get("name")), labels });
    onClose();
  };
  const remove = async () => {
    await sessions.remove(session.session_id);
    if (isCurrent) go("chat");
  };
  if (isDeleting) {
    return html`<${Confirm} title=${t("chat.deleteTitle")} text=${t("chat.deleteText", { name: nameOf(session) })} action=${t("action.delete")} onClose=${onClose} onConfirm=${remove} />`;
  }
  const address = (/** @type {"markdown" | "jsonl"} */ format) => exportAddress(sessions.username, session.session_id, format);
  return html`<${Dialog} title=${t("chat.editSession")} onClose=${onClose}>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <${TextField} label=${t("chat.name")} name="name" value=${session.display_name} maxlength="255" />
      <${TextField} label=${t("chat.labels")} name="labels" value=${session.labels.join(", ")} hint=${t("chat.labelsHint")} />
      <div class="row">
        <a class="button small" href=${address("markdown")} download>${t("chat.exportMarkdown")}</a>
        <a class="button small" href=${address("jsonl")} download>${t("chat.exportJsonl")}</a>
        <${Button} small kind="danger" onClick=${() => setDeleting(true)}>${t("action.delete")}<//>
      </div>
    <//>
  <//>`;
}
