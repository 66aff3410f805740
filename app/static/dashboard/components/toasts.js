/** Short notes at the edge of the page: what was done, and what failed. */

import { ApiError } from "../api/http.js";
import { t } from "../lib/i18n.js";
import { Store, useStore } from "../lib/store.js";
import { html } from "../lib/view.js";
import { Icon } from "./icon.js";

const SECONDS = 8;

/** @typedef {{ id: number, text: string, detail: string, isError: boolean }} Toast */

/** @type {Store<{ toasts: Toast[] }>} */
const store = new Store({ toasts: [] });
let last = 0;

/** @param {string} text */
export function showNote(text) {
  add({ text, detail: "", isError: false });
}

/** @param {unknown} error */
export function showError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  add({ text: messageOf(error), detail: detailOf(error), isError: true });
}

/** What happened, for people.
 * @param {unknown} error */
export function messageOf(error) {
  if (error instanceof ApiError) return error.isNetwork ? t("error.unreachable") : error.message;
  return error instanceof Error ? error.message : String(error);
}

/** The code, and the request's id to look for in the log.
 * @param {unknown} error */
export function detailOf(error) {
  if (!(error instanceof ApiError) || error.isNetwork) return "";
  return error.requestId ? t("error.request", { code: error.code, id: error.requestId }) : error.code;
}

/** @param {Omit<Toast, "id">} toast */
function add(toast) {
  const id = ++last;
  store.set({ toasts: [...store.value.toasts, { id, ...toast }] });
  setTimeout(() => remove(id), SECONDS * 1000 * (toast.isError ? 2 : 1));
}

/** @param {number} id */
function remove(id) {
  store.set({ toasts: store.value.toasts.filter((toast) => toast.id !== id) });
}

export function Toasts() {
  const { toasts } = useStore(store);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.map(
      (toast) => html`<div key=${toast.id} class=${`toast ${toast.isError ? "error" : ""}`}>
        <${Icon} name=${toast.isError ? "warning" : "check"} />
        <div>
          <p dir="auto">${toast.text}</p>
          ${toast.detail && html`<p class="detail">${toast.detail}</p>`}
        </div>
        <button type="button" class="button bare quiet small" aria-label=${t("action.dismiss")} onClick=${() => remove(toast.id)}>
          <${Icon} name="close" size=${16} />
        </button>
      </div>`,
    )}
  </div>`;
}
