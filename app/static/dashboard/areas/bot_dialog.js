/** A bot: a form made of the schema of its kind's settings. Secrets are written, and never read. */

import { may } from "../account.js";
import { ApiError } from "../api/http.js";
import { changeBot, createBot, listBotKinds, listConfigs } from "../api/manage.js";
import { Dialog } from "../components/dialog.js";
import { AreaField, Form, SelectField, TextField } from "../components/form.js";
import { Loaded } from "../components/notice.js";
import { SettingsFields } from "../components/settings_fields.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { changesIn, fieldsOf, namedField } from "../lib/settings_schema.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";

/** @typedef {import("../api/manage.js").BotKind} BotKind */
/** @typedef {import("../api/types.js").Bot} Bot */
/** @typedef {{ name: string, text: string }} Problem */

/** Settings of all chat platforms, which have good presets. */
const SHARED = [
  ...["api_base_url", "allow", "pairing", "groups", "per_user_sessions", "config_id", "live_replies", "at_least_once"],
  "webhook_uuid",
];
/** The settings of bots beside those of the kind, and the codes of refusals that are about them. */
const OWN_FIELDS = { invalid_id: "id", id_reserved: "id", bot_exists: "id", unknown_adapter: "adapter" };

/** @param {{ bot: Bot | null, onClose: () => void, onSaved: (secrets: Record<string, string>) => Promise<void> }} props without a bot it makes one */
export function BotDialog({ bot, onClose, onSaved }) {
  const loaded = useResource(async () => {
    const [kinds, configs] = await Promise.all([listBotKinds(), may("config") ? listConfigs() : []]);
    return { kinds, configs };
  }, []);
  return html`<${Dialog} title=${bot ? t("bot.edit", { name: bot.name }) : t("bot.add")} onClose=${onClose} isWide>
    <${Loaded} resource=${loaded}>
      ${(/** @type {{ kinds: BotKind[], configs: import("../api/types.js").Config[] }} */ { kinds, configs }) =>
        html`<${BotForm} bot=${bot} kinds=${kinds} configs=${configs} onClose=${onClose} onSaved=${onSaved} />`}
    <//>
  <//>`;
}

/** @param {{ bot: Bot | null, kinds: BotKind[], configs: import("../api/types.js").Config[], onClose: () => void, onSaved: (secrets: Record<string, string>) => Promise<void> }} props */
function BotForm({ bot, kinds, configs, onClose, onSaved }) {
  const [adapter, setAdapter] = useState(bot?.adapter ?? kinds.find(({ name }) => name === "telegram")?.name ?? kinds[0].name);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const kind = kinds.find(({ name }) => name === adapter) ?? { name: adapter, schema: {}, secret_fields: [] };
  const fields = fieldsOf(kind.schema, kind.secret_fields);
  useEffect(() => {
    if (problem) /** @type {HTMLElement | null} */ (place.current?.querySelector('[aria-invalid="true"]'))?.focus();
  }, [problem]);

  /** @param {FormData} form */
  const save = async (form) => {
    setProblem(null);
    try {
      const config = { ...changesIn(fields, form, bot?.config ?? {}), ...advancedIn(form) };
      const name = String(form.get("bot-name") ?? "").trim();
      const saved = bot
        ? await changeBot(bot.id, { config, ...(name && name !== bot.name ? { name } : {}) })
        : await createBot({ id: String(form.get("bot-id")).trim(), adapter, config, ...(name ? { name } : {}) });
      await onSaved(saved.generated_secrets);
    } catch (error) {
      const about = problemOf(error, fields.map((field) => field.name));
      if (!about) throw error;
      setProblem(about);
    }
  };
  const [own, shared] = [fields.filter(({ name }) => !SHARED.includes(name)), fields.filter(({ name }) => SHARED.includes(name))];
  const profiles = [{ value: "", label: t("option.default") }, ...configs.map(({ id, name }) => ({ value: id, label: name }))];
  const rest = { values: bot?.config ?? {}, isNew: bot === null, problem, choices: configs.length ? { config_id: profiles } : {} };
  const errorOf = (/** @type {string} */ name) => (problem?.name === name ? problem.text : "");
  return html`<div ref=${place}>
    <${Form} action=${t(bot ? "action.save" : "action.add")} onSubmit=${save} onCancel=${onClose}>
      ${!bot &&
      html`<div class="columns">
        <${SelectField} label=${t("bot.kind")} name="adapter" value=${adapter} error=${errorOf("adapter")} options=${kinds.map(({ name }) => ({ value: name, label: name }))} onChange=${(/** @type {any} */ event) => setAdapter(event.target.value)} />
        <${TextField} label=${t("bot.id")} name="bot-id" required hint=${t("bot.idHint")} error=${errorOf("id")} autofocus />
      </div>`}
      <${TextField} label=${t("bot.name")} name="bot-name" value=${bot?.name} maxlength="100" />
      <div class="form" key=${adapter}>
        <${SettingsFields} fields=${own} ...${rest} />
        ${shared.length > 0 &&
        html`<details class="more-settings" open=${shared.some(({ name }) => name === problem?.name)}>
          <summary>${t("bot.behaviour")}</summary>
          <div class="form"><${SettingsFields} fields=${shared} ...${rest} /></div>
        </details>`}
        <details class="more-settings" open=${problem?.name === "advanced"}>
          <summary>${t("bot.advanced")}</summary>
          <${AreaField} label=${t("bot.config")} hint=${t("bot.configHint")} error=${errorOf("advanced")} name="advanced" class="code" rows=${4} spellcheck=${false} />
        </details>
      </div>
    <//>
  </div>`;
}

/** Settings that are written as JSON; they take precedence. Throws SyntaxError.
 * @param {FormData} form @returns {Record<string, unknown>} */
function advancedIn(form) {
  const text = String(form.get("advanced") ?? "").trim();
  return text ? JSON.parse(text) : {};
}

/** The field that a refusal is about, and what is wrong with it; null if it is about none.
 * @param {unknown} error @param {string[]} names @returns {Problem | null} */
function problemOf(error, names) {
  if (error instanceof SyntaxError) return { name: "advanced", text: error.message };
  if (!(error instanceof ApiError)) return null;
  const name = OWN_FIELDS[/** @type {keyof typeof OWN_FIELDS} */ (error.code)] ?? (error.code === "invalid_config" ? namedField(error.message, names) : null);
  return name === null ? null : { name, text: error.message.replace(/^config: /, "") };
}
