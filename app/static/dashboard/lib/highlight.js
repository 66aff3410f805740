/** Colours for code, loaded when the first code is shown. */

import DOMPurify from "../vendor/dompurify.js";

/** The grammar of each name by which code is marked. @type {Record<string, string>} */
const GRAMMARS = {
  ...Object.fromEntries(
    [
      ...["bash", "c", "cpp", "csharp", "css", "diff", "go", "ini", "java", "javascript", "json", "markdown", "php"],
      ...["python", "ruby", "rust", "sql", "typescript", "xml", "yaml"],
    ].map((name) => [name, name]),
  ),
  ...{ sh: "bash", shell: "bash", zsh: "bash", console: "bash", h: "c", "c++": "cpp", cs: "csharp", patch: "diff" },
  ...{ golang: "go", toml: "ini", conf: "ini", js: "javascript", jsx: "javascript", mjs: "javascript", jsonl: "json" },
  ...{ md: "markdown", py: "python", py3: "python", rb: "ruby", rs: "rust", ts: "typescript", tsx: "typescript" },
  ...{ html: "xml", svg: "xml", vue: "xml", yml: "yaml" },
};
const MAX_CHARS = 50_000;

/** Colour the text of a code element, if its language is known.
 * @param {HTMLElement} element @param {string} language */
export async function highlight(element, language) {
  const name = GRAMMARS[language.toLowerCase()];
  const code = element.textContent ?? "";
  if (!name || code.length > MAX_CHARS) return;
  const [{ default: highlighter }, { default: grammar }] = await Promise.all([
    import("../vendor/highlight/core.js"),
    import(`../vendor/highlight/${name}.js`),
  ]);
  if (!highlighter.getLanguage(name)) highlighter.registerLanguage(name, grammar);
  if (element.textContent !== code) return; // it grew meanwhile
  const { value } = highlighter.highlight(code, { language: name, ignoreIllegals: true });
  element.replaceChildren(
    DOMPurify.sanitize(value, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }),
  );
}
