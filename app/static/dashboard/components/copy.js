/** A text to copy, such as a key or a command. */

import { t } from "../lib/i18n.js";
import { html, useState } from "../lib/view.js";
import { Button } from "./button.js";

/** @param {{ text: string, label?: string, small?: boolean, kind?: "plain" | "quiet" }} props */
export function CopyButton({ text, label = t("action.copy"), small = true, kind = "quiet" }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<${Button} kind=${kind} small=${small} icon=${isCopied ? "check" : "copy"} label=${isCopied ? t("state.copied") : label} onClick=${copy} />`;
}

/** @param {string} text */
async function writeText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without https, on another host than this machine, browsers have the old way only.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** @param {{ text: string, label: string }} props */
export function CopyBlock({ text, label }) {
  return html`<div class="copy-block">
    <pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
    <${CopyButton} text=${text} kind="plain" />
  </div>`;
}
