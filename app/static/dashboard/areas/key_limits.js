/** What a key may do and use: name, scopes, limits, budget. */

import { changeKey } from "../api/manage.js";
import { Dialog } from "../components/dialog.js";
import { CheckField, Form, SelectField, TextField } from "../components/form.js";
import { compact, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { html } from "../lib/view.js";

/** @typedef {import("../api/types.js").ApiKey} ApiKey */

/** The limits of a key in a line.
 * @param {ApiKey} key */
export function limitsOf(key) {
  const { budget } = key;
  const parts = [
    key.rpm_limit && t("key.rpm", { count: number(key.rpm_limit) }),
    key.tpm_limit && t("key.tpm", { count: compact(key.tpm_limit) }),
    key.max_parallel_requests && t("key.parallel", { count: number(key.max_parallel_requests) }),
    budget?.tokens && t("key.budgetTokens", { count: compact(budget.tokens), per: t(/** @type {any} */ (`period.${budget.per}`)) }),
    budget?.cost && t("key.budgetCost", { count: number(budget.cost), per: t(/** @type {any} */ (`period.${budget.per}`)) }),
    key.models && key.models.join(", "),
    key.ip_ranges && key.ip_ranges.join(", "),
  ];
  return parts.filter(Boolean).join(" · ") || "–";
}

/** @param {{ apiKey: ApiKey, onClose: () => void, onSaved: () => Promise<void> }} props */
export function KeyDialog({ apiKey, onClose, onSaved }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    const text = (/** @type {string} */ name) => String(fields.get(name)).trim();
    const whole = (/** @type {string} */ name) => (text(name) ? Number(text(name)) : null);
    const list = (/** @type {string} */ name) => (text(name) ? text(name).split(",").map((each) => each.trim()) : null);
    const [tokens, cost] = [whole("tokens"), whole("cost")];
    await changeKey(apiKey.key_id, {
      name: text("name"),
      blocked: fields.has("blocked"),
      rpm_limit: whole("rpm"),
      tpm_limit: whole("tpm"),
      max_parallel_requests: whole("parallel"),
      budget: tokens || cost ? { per: text("per"), ...(tokens ? { tokens } : {}), ...(cost ? { cost } : {}) } : null,
      models: list("models"),
      ip_ranges: list("addresses"),
    });
    await onSaved();
  };
  const { budget } = apiKey;
  return html`<${Dialog} title=${t("key.change")} onClose=${onClose} isWide>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <${TextField} label=${t("key.name")} name="name" value=${apiKey.name} required maxlength="100" />
      <div class="columns">
        <${TextField} label=${t("key.rpmLabel")} name="rpm" type="number" min="1" value=${apiKey.rpm_limit} />
        <${TextField} label=${t("key.tpmLabel")} name="tpm" type="number" min="1" value=${apiKey.tpm_limit} />
        <${TextField} label=${t("key.parallelLabel")} name="parallel" type="number" min="1" value=${apiKey.max_parallel_requests} />
      </div>
      <div class="columns">
        <${TextField} label=${t("key.tokensLabel")} name="tokens" type="number" min="1" value=${budget?.tokens} />
        <${TextField} label=${t("key.costLabel")} name="cost" type="number" min="0" step="any" value=${budget?.cost} />
        <${SelectField} label=${t("key.perLabel")} name="per" value=${budget?.per ?? "month"} options=${["day", "week", "month"].map((value) => ({ value, label: t(/** @type {any} */ (`period.${value}`)) }))} />
      </div>
      <div class="columns">
        <${TextField} label=${t("key.modelsLabel")} name="models" hint=${t("key.listHint")} value=${apiKey.models?.join(", ")} />
        <${TextField} label=${t("key.addressesLabel")} name="addresses" hint=${t("key.listHint")} value=${apiKey.ip_ranges?.join(", ")} />
      </div>
      <${CheckField} label=${t("key.blockedLabel")} name="blocked" checked=${apiKey.blocked} hint=${t("key.blockedHint")} />
    <//>
  <//>`;
}
