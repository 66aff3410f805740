/** Dialogs, by the browser's own element: it keeps the focus inside and closes with Escape. */

import { t } from "../lib/i18n.js";
import { html, useEffect, useId, useRef } from "../lib/view.js";
import { Button } from "./button.js";

/** @param {{ title: string, onClose: () => void, children: any, isWide?: boolean }} props */
export function Dialog({ title, onClose, children, isWide = false }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useEffect(() => {
    const opener = /** @type {HTMLElement | null} */ (document.activeElement);
    element.current?.showModal();
    return () => opener?.focus?.();
  }, []);
  return html`<dialog
    ref=${element}
    class=${isWide ? "wide" : ""}
    aria-labelledby=${id}
    onClose=${onClose}
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onClose();
    }}
  >
    <header>
      <h2 id=${id} dir="auto">${title}</h2>
      <${Button} kind="quiet" icon="close" label=${t("action.close")} onClick=${onClose} />
    </header>
    ${children}
  </dialog>`;
}

/** Ask before something that cannot be undone.
 * @param {{ title: string, text: string, action: string, onConfirm: () => unknown, onClose: () => void }} props */
export function Confirm({ title, text, action, onConfirm, onClose }) {
  const confirm = async () => {
    await onConfirm();
    onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p dir="auto">${text}</p>
    <footer>
      <${Button} onClick=${onClose}>${t("action.cancel")}<//>
      <${Button} kind="danger" onClick=${confirm}>${action}<//>
    </footer>
  <//>`;
}
