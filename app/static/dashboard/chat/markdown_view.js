/** A text with Markdown, which may still grow. */

import { html, useLayoutEffect, useRef } from "../lib/view.js";
import { MarkdownRenderer } from "./markdown_renderer.js";

/** @param {{ text: string, isFinal?: boolean }} props */
export function MarkdownView({ text, isFinal = true }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const renderer = useRef(/** @type {MarkdownRenderer | null} */ (null));
  useLayoutEffect(() => {
    renderer.current ??= new MarkdownRenderer(/** @type {HTMLElement} */ (element.current));
    renderer.current.update(text, isFinal);
  }, [text, isFinal]);
  return html`<div class="markdown" ref=${element}></div>`;
}
