/** Shows a text that grows. What stands before its last block is never drawn again, so that nothing flickers. */

import { highlight } from "../lib/highlight.js";
import { t } from "../lib/i18n.js";
import { blocksOf, fragmentOf } from "../lib/markdown.js";

/** A longer text is shown as it is: reading it as Markdown would hold the page up. */
export const MAX_CHARS = 100_000;

/** @typedef {import("../vendor/marked.js").Token} Token */

export class MarkdownRenderer {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = "";
    /** Where the last block begins. */
    this.start = 0;
    /** @type {{ token: Token, node: HTMLElement } | null} */
    this.last = null;
  }

  reset() {
    this.element.replaceChildren();
    this.text = "";
    this.start = 0;
    this.last = null;
  }

  /** Show `text`; `isFinal` says that it will not grow any more.
   * @param {string} text @param {boolean} isFinal */
  update(text, isFinal) {
    if (text.length > MAX_CHARS) {
      this.showPlain(text);
      return;
    }
    if (!text.startsWith(this.text)) this.reset();
    this.text = text;
    const blocks = blocksOf(text.slice(this.start));
    let offset = this.start;
    for (const block of blocks) {
      if (block.type !== "space" && block.type !== "def") this.showBlock(block, offset, blocks.links);
      offset += block.raw.length;
    }
    if (isFinal) this.settle();
  }

  /** @param {Token} block @param {number} offset @param {Record<string, any>} links */
  showBlock(block, offset, links) {
    if (this.last && offset === this.start) {
      if (this.last.token.raw === block.raw) return;
      if (growCode(this.last, block)) return;
      const node = drawn(block, links);
      this.last.node.replaceWith(node);
      this.last = { token: block, node };
      return;
    }
    this.settle();
    this.start = offset;
    this.last = { token: block, node: drawn(block, links) };
    this.element.append(this.last.node);
  }

  /** The last block is complete: code gets its colours. */
  settle() {
    const code = this.last?.token.type === "code" && this.last.node.querySelector("code");
    if (code) highlight(code, languageOf(/** @type {Token} */ (this.last?.token))).catch(() => {});
  }

  /** @param {string} text */
  showPlain(text) {
    this.reset();
    const block = document.createElement("p");
    block.className = "plain-text";
    block.dir = "auto";
    block.textContent = text.slice(0, MAX_CHARS);
    this.element.append(block);
    const more = document.createElement("button");
    more.type = "button";
    more.className = "button small";
    more.textContent = t("chat.showAll");
    more.addEventListener("click", () => {
      block.textContent = text;
      more.remove();
    });
    this.element.append(more);
  }
}

/** Append to a block of code that has grown; false for all else.
 * @param {{ token: Token, node: HTMLElement }} last @param {Token} block */
function growCode(last, block) {
  if (last.token.type !== "code" || block.type !== "code" || !block.text.startsWith(last.token.text)) return false;
  if (languageOf(block) !== languageOf(last.token)) return false;
  const code = last.node.querySelector("code");
  if (code?.childNodes.length !== 1 || !(code.firstChild instanceof Text)) return false;
  code.firstChild.appendData(block.text.slice(last.token.text.length));
  last.token = block;
  return true;
}

/** @param {Token} block */
function languageOf(block) {
  return block.type === "code" ? (/^\S*/.exec(block.lang ?? "")?.[0] ?? "") : "";
}

/** @param {Token} block @param {Record<string, any>} links */
function drawn(block, links) {
  const node = document.createElement("div");
  node.className = "block";
  if (block.type === "code") node.append(codeBlock(block.text, languageOf(block)));
  else node.append(fragmentOf(block, links));
  if (block.type === "table") {
    // What scrolls can be reached by keyboard.
    node.classList.add("table-block");
    node.tabIndex = 0;
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", t("chat.table"));
  }
  return node;
}

/** @param {string} text @param {string} language */
function codeBlock(text, language) {
  const block = document.createElement("div");
  block.className = "code-block";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const name = document.createElement("span");
  name.textContent = language;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "button small quiet";
  copy.textContent = t("action.copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(code.textContent ?? "");
    copy.textContent = t("state.copied");
    setTimeout(() => (copy.textContent = t("action.copy")), 2000);
  });
  bar.append(name, copy);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.dir = "ltr";
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", t("chat.code"));
  const code = document.createElement("code");
  code.textContent = text;
  pre.append(code);
  block.append(bar, pre);
  return block;
}
