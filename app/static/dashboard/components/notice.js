/** What stands in for content: loading, nothing, or an error. */

import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";
import { detailOf, messageOf } from "./toasts.js";

/** @param {{ error: unknown, onRetry?: () => unknown }} props */
export function ErrorNotice({ error, onRetry }) {
  return html`<div class="notice error" role="alert">
    <${Icon} name="warning" />
    <div>
      <p dir="auto">${messageOf(error)}</p>
      <p class="detail">${detailOf(error)}</p>
    </div>
    ${onRetry && html`<${Button} small onClick=${onRetry}>${t("action.retry")}<//>`}
  </div>`;
}

/** What to do where there is nothing yet.
 * @param {{ icon: import("./icon.js").IconName, title: string, children?: any, action?: any }} props */
export function Empty({ icon, title, children, action }) {
  return html`<div class="empty">
    <${Icon} name=${icon} size=${28} />
    <p class="title">${title}</p>
    ${children && html`<p>${children}</p>`}
    ${action}
  </div>`;
}

export function Loading() {
  return html`<div class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${t("state.loading")}</div>`;
}

/** What a resource holds, or what stands in for it.
 * @param {{ resource: import("../lib/resource.js").Resource<any>, children: (data: any) => any }} props */
export function Loaded({ resource, children }) {
  if (resource.data !== undefined) {
    return html`${resource.error && html`<${ErrorNotice} error=${resource.error} onRetry=${resource.reload} />`}${children(resource.data)}`;
  }
  return resource.error ? html`<${ErrorNotice} error=${resource.error} onRetry=${resource.reload} />` : html`<${Loading} />`;
}
