/** Markdown as safe HTML: what a model, a tool or a user wrote runs nothing and loads nothing. */

import DOMPurify from "../vendor/dompurify.js";
import { Marked } from "../vendor/marked.js";

const TAGS = [
  ...["p", "br", "hr", "h3", "h4", "h5", "h6", "strong", "em", "del", "code", "pre", "blockquote"],
  ...["ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td", "span"],
];
const ATTRIBUTES = ["href", "title", "class", "start", "align"];
const SAFE_LINK = /^(https?:|mailto:)/i;

/** @param {string} text */
function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  renderer: {
    // Tags are shown as they were written.
    html: ({ text }) => escape(text),
    // The page has its own headings above these.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    link({ href, title, tokens }) {
      const text = this.parser.parseInline(tokens);
      if (!SAFE_LINK.test(href)) return text;
      return `<a href="${escape(href)}"${title ? ` title="${escape(title)}"` : ""}>${text}</a>`;
    },
    // Nothing is loaded from elsewhere: that would tell others who reads.
    image({ href, text }) {
      const label = escape(text || href);
      return SAFE_LINK.test(href) ? `<a href="${escape(href)}">${label}</a>` : label;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

/** The blocks of a text: paragraphs, lists, code and so on.
 * @param {string} text */
export function blocksOf(text) {
  return marked.lexer(text);
}

/** A block as elements. Links open beside the page, and say nothing about it.
 * @param {import("../vendor/marked.js").Token} block @param {Record<string, any>} links definitions of the text's links
 * @returns {DocumentFragment} */
export function fragmentOf(block, links) {
  const tokens = Object.assign([block], { links });
  const fragment = DOMPurify.sanitize(marked.parser(tokens), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const element of fragment.querySelectorAll("p, li, h3, h4, h5, h6, blockquote, td, th")) {
    element.setAttribute("dir", "auto");
  }
  return fragment;
}
