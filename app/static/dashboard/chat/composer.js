/** The line to write in, with files and the options of the reply. */

import { may } from "../account.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { showError } from "../components/toasts.js";
import { t } from "../lib/i18n.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";
import { optionsOf, OptionsView } from "./options_view.js";

/** What is written and not sent, while the page is open. @type {Map<string, string>} */
const drafts = new Map();

/**
 * @param {{ attachments: ReturnType<typeof import("./attachments.js").useAttachments>, isBusy: boolean,
 *   onSend: (parts: import("./reply.js").Part[], options: Record<string, unknown>) => Promise<void>, onStop: () => Promise<void>,
 *   sessionConfig: string | null, draftKey?: string }} props
 */
export function Composer({ attachments, isBusy, onSend, onStop, sessionConfig, draftKey = "" }) {
  const input = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const files = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [text, setText] = useState(drafts.get(draftKey) ?? "");
  const [hasOptions, setOptions] = useState(false);
  const [isWaiting, setWaiting] = useState(false);
  const canSend = (text.trim() !== "" || !attachments.isEmpty) && !isWaiting;
  useEffect(() => {
    // Where there is no keyboard on the screen, one writes at once.
    if (matchMedia("(pointer: fine)").matches) input.current?.focus();
  }, []);

  const send = async () => {
    if (!canSend) return;
    const written = text;
    setWaiting(true);
    const parts = [...(written.trim() ? [{ type: "plain", text: written }] : []), ...(await attachments.finish())];
    setWaiting(false);
    if (parts.length === 0) return;
    setText("");
    attachments.clear();
    try {
      await onSend(parts, optionsOf());
    } catch (error) {
      showError(error);
      setText((now) => now || written);
    }
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    // Enter that ends a word of an input method sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  /** @param {ClipboardEvent} event */
  const paste = (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length === 0) return;
    event.preventDefault();
    attachments.add(pasted);
  };

  return html`<form
    class="composer"
    onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      send();
    }}
  >
    ${hasOptions && html`<${OptionsView} sessionConfig=${sessionConfig} />`}
    ${attachments.value.attachments.length > 0 && html`<${AttachmentList} attachments=${attachments} />`}
    <div class="line">
      ${may("file") &&
      html`<${Button} kind="quiet" icon="attach" label=${t("chat.attach")} onClick=${() => files.current?.click()} />
        <input ref=${files} type="file" multiple hidden aria-label=${t("chat.attach")}
          onChange=${(/** @type {any} */ event) => {
            attachments.add([...event.target.files]);
            event.target.value = "";
          }} />`}
      <textarea
        ref=${input}
        rows="1"
        dir="auto"
        aria-label=${t("chat.message")}
        placeholder=${t("chat.placeholder")}
        value=${text}
        onInput=${(/** @type {any} */ event) => setText(event.target.value)}
        onKeyDown=${press}
        onPaste=${paste}
      ></textarea>
      <${Button} kind="quiet" icon="options" label=${t("chat.options")} expanded=${hasOptions} onClick=${() => setOptions(!hasOptions)} />
      ${isBusy && html`<${Button} icon="stop" label=${t("chat.stop")} onClick=${onStop} />`}
      ${(!isBusy || canSend) && html`<${Button} kind="main" type="submit" icon="send" label=${t("chat.send")} disabled=${!canSend} />`}
    </div>
  </form>`;
}

/** @param {{ attachments: ReturnType<typeof import("./attachments.js").useAttachments> }} props */
function AttachmentList({ attachments }) {
  return html`<ul class="attachments" aria-label=${t("chat.attachments")}>
    ${attachments.value.attachments.map(
      (each) => html`<li key=${each.key} class=${each.error ? "failed" : ""}>
        ${each.preview ? html`<img src=${each.preview} alt="" />` : html`<${Icon} name="file" />`}
        <span>
          <bdi class="name">${each.name}</bdi>
          ${each.error && html`<span class="error" role="alert">${each.error}</span>`}
          ${!each.part && !each.error && html`<progress max="1" value=${each.share} aria-label=${t("state.uploading")}></progress>`}
        </span>
        <${Button} kind="quiet" small icon="close" label=${t("action.remove")} onClick=${() => attachments.remove(each.key)} />
      </li>`,
    )}
  </ul>`;
}
