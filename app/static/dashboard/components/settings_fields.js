/** Fields of a form that a schema describes. */

import { t } from "../lib/i18n.js";
import { wordsOf } from "../lib/settings_schema.js";
import { html } from "../lib/view.js";
import { AreaField, CheckField, SelectField, TextField } from "./form.js";

/** @typedef {import("../lib/settings_schema.js").Field} Field */

/** What settings that several kinds share are called, and what they do.
 * @type {Record<string, { label: import("../lib/i18n.js").Key, hint?: import("../lib/i18n.js").Key }>} */
const KNOWN = {
  allow: { label: "setting.allow", hint: "setting.allowHint" },
  pairing: { label: "setting.pairing", hint: "setting.pairingHint" },
  groups: { label: "setting.groups" },
  per_user_sessions: { label: "setting.perUser" },
  config_id: { label: "area.profiles" },
  live_replies: { label: "setting.live", hint: "setting.liveHint" },
  at_least_once: { label: "setting.atLeastOnce", hint: "setting.atLeastOnceHint" },
  api_base_url: { label: "setting.apiBaseUrl", hint: "setting.apiBaseUrlHint" },
  webhook_uuid: { label: "setting.webhookUuid", hint: "setting.webhookUuidHint" },
};

/** @type {Record<string, import("../lib/i18n.js").Key>} */
const CHOICES = { mention: "setting.groupsMention", all: "setting.groupsAll", none: "setting.groupsNone" };

/** @param {Field} field */
export function labelOf({ name }) {
  return KNOWN[name] ? t(KNOWN[name].label) : wordsOf(name);
}

/**
 * @param {{ fields: Field[], values: Record<string, any>, isNew: boolean, problem: { name: string, text: string } | null,
 *   choices?: Record<string, { value: string, label: string }[]> }} props `values` are those that are stored; `choices` replace
 *   the writing of a text by a choice
 */
export function SettingsFields({ fields, values, isNew, problem, choices = {} }) {
  return fields.map((field) => html`<${SettingsField} key=${field.name} field=${field} value=${values[field.name] ?? field.preset} isNew=${isNew} error=${problem?.name === field.name ? problem.text : ""} options=${choices[field.name]} />`);
}

/** @param {{ field: Field, value: any, isNew: boolean, error: string, options?: { value: string, label: string }[] }} props */
function SettingsField({ field, value, isNew, error, options }) {
  const { name, kind, isRequired, maxLength } = field;
  const hint = KNOWN[name]?.hint ? t(KNOWN[name].hint) : field.description;
  const shared = { name, label: labelOf(field), hint, error };
  const isNeeded = isRequired && (isNew || kind !== "secret");
  if (options) return html`<${SelectField} ...${shared} value=${value ?? ""} options=${options} />`;
  switch (kind) {
    case "boolean":
      return html`<${CheckField} ...${shared} checked=${value === true} />`;
    case "choice":
      return html`<${SelectField} ...${shared} value=${value} options=${field.options.map((each) => ({ value: each, label: CHOICES[each] ? t(CHOICES[each]) : each }))} />`;
    case "list":
      return html`<${AreaField} ...${shared} hint=${hint || t("setting.listHint")} rows=${2} value=${(value ?? []).join("\n")} spellcheck=${false} />`;
    case "number":
      return html`<${TextField} ...${shared} type="number" step=${field.step} value=${value} required=${isNeeded} />`;
    case "secret":
      return html`<${TextField} ...${shared} type="password" hint=${t(isNew ? "setting.secretHint" : "setting.secretKept")} required=${isNeeded} maxlength=${maxLength} autocomplete="new-password" />`;
    case "json":
      return html`<${AreaField} ...${shared} class="code" value=${value === undefined ? "" : JSON.stringify(value)} spellcheck=${false} />`;
    default:
      return html`<${TextField} ...${shared} value=${value} required=${isNeeded} maxlength=${maxLength} spellcheck=${false} />`;
  }
}
