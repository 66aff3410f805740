/** A message of the user's, to be said in other words. */

import { Button } from "../components/button.js";
import { showError } from "../components/toasts.js";
import { t } from "../lib/i18n.js";
import { html, useEffect, useRef } from "../lib/view.js";
import { textOf } from "./reply.js";

/** @param {{ entry: import("./entries.js").Entry, turns: import("./turns.js").Turns, onClose: () => void }} props */
export function MessageEditor({ entry, turns, onClose }) {
  const input = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => input.current?.focus(), []);
  const save = () => {
    const text = input.current?.value ?? "";
    if (!text.trim()) return;
    onClose();
    turns.edit(entry, text).catch(showError);
  };
  return html`<form
    class="editor"
    onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      save();
    }}
    onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") onClose();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      }
    }}
  >
    <textarea ref=${input} dir="auto" rows="3" aria-label=${t("turn.newText")} defaultValue=${textOf(entry.parts)}></textarea>
    <div class="row">
      <${Button} kind="main" small type="submit">${t("chat.send")}<//>
      <${Button} small onClick=${onClose}>${t("action.cancel")}<//>
    </div>
  </form>`;
}
