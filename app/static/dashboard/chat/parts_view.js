/** The parts of a message: text, files, calls of tools, and what it replies to. */

import { html } from "../lib/view.js";
import { AttachmentView } from "./attachment_view.js";
import { MarkdownView } from "./markdown_view.js";
import { ToolCallView } from "./tool_call.js";

/** @param {{ parts: import("./reply.js").Part[], isLive?: boolean }} props */
export function PartsView({ parts, isLive = false }) {
  return parts.map((part, index) => {
    if (part.type === "plain") {
      return html`<${MarkdownView} key=${index} text=${part.text ?? ""} isFinal=${!isLive || index < parts.length - 1} />`;
    }
    if (part.type === "tool_call") {
      return (part.tool_calls ?? []).map((call) => html`<${ToolCallView} key=${call.id} call=${call} isLive=${isLive} />`);
    }
    if (part.type === "reply") {
      return part.selected_text && html`<blockquote class="quoted" dir="auto">${part.selected_text}</blockquote>`;
    }
    return html`<${AttachmentView} key=${part.attachment_id ?? index} part=${part} />`;
  });
}
