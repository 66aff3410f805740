/** Buttons: what is pressed says so until its work is done, and shows why it failed. */

import { html, useState } from "../lib/view.js";
import { Icon } from "./icon.js";
import { showError } from "./toasts.js";

/**
 * @param {{
 *   children?: any, icon?: import("./icon.js").IconName, kind?: "main" | "plain" | "danger" | "quiet", type?: "button" | "submit",
 *   onClick?: (event: Event) => unknown, disabled?: boolean, label?: string, pressed?: boolean, expanded?: boolean, small?: boolean,
 * }} props `label` names a button that shows an icon alone.
 */
export function Button({ children, icon, kind = "plain", type = "button", onClick, disabled, label, pressed, expanded, small }) {
  const [isBusy, setBusy] = useState(false);
  /** @param {Event} event */
  const act = async (event) => {
    const result = onClick?.(event);
    if (!(result instanceof Promise)) return;
    setBusy(true);
    try {
      await result;
    } catch (error) {
      showError(error);
    } finally {
      setBusy(false);
    }
  };
  return html`<button
    type=${type}
    class=${`button ${kind} ${small ? "small" : ""} ${children ? "" : "bare"}`}
    disabled=${disabled || isBusy}
    aria-busy=${isBusy ? "true" : undefined}
    aria-label=${label}
    title=${label}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)}
    aria-expanded=${expanded === undefined ? undefined : String(expanded)}
    onClick=${act}
  >
    ${icon && html`<${Icon} name=${icon} size=${small || !children ? 16 : 18} />`}${children && html`<span>${children}</span>`}
  </button>`;
}
