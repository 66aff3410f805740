/** The passages of the knowledge base that a reply was given. */

import { Icon } from "../components/icon.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

/** @param {{ refs: { number: number, title: string, heading?: string | null, text: string, score?: number }[] }} props */
export function RefsView({ refs }) {
  return html`<details class="refs">
    <summary><${Icon} name="book" size=${16} />${t("chat.refs", { count: refs.length })}</summary>
    <ol>
      ${refs.map(
        (ref) => html`<li key=${ref.number} value=${ref.number}>
          <p class="title" dir="auto">${ref.title}${ref.heading ? ` · ${ref.heading}` : ""}</p>
          <blockquote dir="auto">${ref.text}</blockquote>
        </li>`,
      )}
    </ol>
  </details>`;
}
