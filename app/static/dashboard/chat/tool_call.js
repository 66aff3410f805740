/** A call of a tool with its result, folded. */

import { Badge } from "../components/table.js";
import { Icon } from "../components/icon.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

/** @typedef {import("./reply.js").ToolCall} Call */

const MAX_CHARS = 20_000;

/** @param {{ call: Call, isLive: boolean }} props */
export function ToolCallView({ call, isLive }) {
  const state = stateOf(call, isLive);
  return html`<details class="tool-call">
    <summary>
      <${Icon} name="tool" size=${16} /><bdi class="name">${call.name}</bdi>
      <${Badge} tone=${state.tone}>${t(state.text)}<//>
    </summary>
    <p class="label">${t("tool.arguments")}</p>
    <pre tabindex="0" role="region" aria-label=${t("tool.arguments")} dir="auto">${textOf(call.args)}</pre>
    ${call.result !== undefined &&
    html`<p class="label">${t("tool.result")}</p>
      <pre tabindex="0" role="region" aria-label=${t("tool.result")} dir="auto">${textOf(call.result)}</pre>`}
  </details>`;
}

/** @param {Call} call @param {boolean} isLive @returns {{ tone: "good" | "bad" | "wait", text: import("../lib/i18n.js").Key }} */
function stateOf(call, isLive) {
  if (call.status === "failed") return { tone: "bad", text: "tool.failed" };
  if (call.status === "refused") return { tone: "bad", text: "tool.refused" };
  if (call.status === "interrupted") return { tone: "bad", text: "tool.interrupted" };
  if (call.result !== undefined) return { tone: "good", text: "tool.done" };
  return isLive ? { tone: "wait", text: "tool.running" } : { tone: "bad", text: "tool.interrupted" };
}

/** @param {unknown} value */
function textOf(value) {
  let text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  try {
    if (typeof value === "string" && /^[[{]/.test(value)) text = JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    // a text that only looks like JSON
  }
  return text && text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)} …` : text;
}
