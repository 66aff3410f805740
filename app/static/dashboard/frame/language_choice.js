/** The choice of the language. */

import { chooseLanguage, language, LANGUAGES, t } from "../lib/i18n.js";
import { useStore } from "../lib/store.js";
import { html } from "../lib/view.js";

export function LanguageChoice() {
  const { language: current } = useStore(language);
  return html`<select
    class="language"
    aria-label=${t("language.label")}
    onChange=${(/** @type {any} */ event) => chooseLanguage(event.target.value)}
  >
    ${Object.entries(LANGUAGES).map(
      ([code, name]) => html`<option value=${code} lang=${code} selected=${code === current}>${name}</option>`,
    )}
  </select>`;
}
