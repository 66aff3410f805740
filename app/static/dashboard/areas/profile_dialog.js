/** A profile's settings: the common ones in fields, the others as JSON. */

import { createProfile, getProfile, replaceProfile, validateProfile } from "../api/manage.js";
import { Dialog } from "../components/dialog.js";
import { AreaField, Form, TextField } from "../components/form.js";
import { ErrorNotice, Loading } from "../components/notice.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";

/** @param {{ id: string, onClose: () => void, onSaved: () => Promise<void> }} props `id` is empty for a new profile */
export function ProfileDialog({ id, onClose, onSaved }) {
  const loaded = useResource(async () => (id ? getProfile(id) : { profile: null, version: "" }), [id]);
  return html`<${Dialog} title=${id || t("profile.create")} onClose=${onClose} isWide>
    ${loaded.error && html`<${ErrorNotice} error=${loaded.error} onRetry=${loaded.reload} />`}
    ${loaded.data ? html`<${Settings} id=${id} ...${loaded.data} onClose=${onClose} onSaved=${onSaved} />` : !loaded.error && html`<${Loading} />`}
  <//>`;
}

/** @param {{ id: string, profile: import("../api/manage.js").Profile | null, version: string, onClose: () => void, onSaved: () => Promise<void> }} props */
function Settings({ id, profile, version, onClose, onSaved }) {
  const [problems, setProblems] = useState(/** @type {string[]} */ ([]));
  const { id: _, problem: __, name, provider, model, system_prompt, ...rest } = profile ?? {};
  const others = JSON.stringify(set(rest), null, 2);

  /** @param {FormData} fields */
  const save = async (fields) => {
    const text = (/** @type {string} */ field) => String(fields.get(field) ?? "").trim();
    const settings = set({
      name: text("name"),
      provider: text("provider"),
      model: text("model"),
      system_prompt: text("prompt"),
      ...JSON.parse(text("others") || "{}"),
    });
    const target = id || text("id");
    const { valid, problems: found } = await validateProfile(target, settings);
    setProblems(found);
    if (!valid) return;
    await (id ? replaceProfile(id, settings, version) : createProfile(target, settings));
    await onSaved();
  };
  return html`<${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
    <div class="columns">
      ${!id && html`<${TextField} label=${t("profile.id")} name="id" required pattern="[A-Za-z0-9_.\\-]{1,64}" autofocus />`}
      <${TextField} label=${t("profile.name")} name="name" value=${name} />
      <${TextField} label=${t("profile.provider")} name="provider" value=${provider} placeholder=${t("profile.asServer")} />
      <${TextField} label=${t("profile.model")} name="model" value=${model} placeholder=${t("profile.asServer")} />
    </div>
    <${AreaField} label=${t("profile.prompt")} name="prompt" value=${system_prompt} rows=${6} />
    <${AreaField} label=${t("profile.others")} hint=${t("profile.othersHint")} name="others" class="code" rows=${8} spellcheck=${false} value=${others} />
    ${problems.length > 0 && html`<ul class="notice error" role="alert">${problems.map((each) => html`<li dir="auto">${each}</li>`)}</ul>`}
  <//>`;
}

/** The settings that say something.
 * @param {Record<string, unknown>} settings */
function set(settings) {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null && value !== "" && value !== undefined));
}
