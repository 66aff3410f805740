/** Forms: fields with labels and hints, and one place for what went wrong. */

import { t } from "../lib/i18n.js";
import { html, useId, useState } from "../lib/view.js";
import { Button } from "./button.js";
import { ErrorNotice } from "./notice.js";

/** A label, a hint, what is wrong, and the control that `children` draws with the attributes that tie them together.
 * @param {{ label: string, hint?: string, error?: string, children: (attributes: object) => any }} props */
export function Field({ label, hint, error, children }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children({ id, ...described(id, hint, error) })} <${Notes} id=${id} hint=${hint} error=${error} />
  </div>`;
}

/** @param {string} id @param {string} [hint] @param {string} [error] */
function described(id, hint, error) {
  const notes = [error && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(" ");
  return { ...(notes ? { "aria-describedby": notes } : {}), ...(error ? { "aria-invalid": "true" } : {}) };
}

/** @param {{ id: string, hint?: string, error?: string }} props */
function Notes({ id, hint, error }) {
  return html`${error && html`<p class="problem" id=${`${id}-error`} role="alert" dir="auto">${error}</p>`}
    ${hint && html`<p class="hint" id=${`${id}-hint`} dir="auto">${hint}</p>`}`;
}

/** @param {{ label: string, name: string, value?: string | number | null, hint?: string, type?: string, required?: boolean, [attribute: string]: any }} props */
export function TextField({ label, hint, error, value, name, type = "text", ...rest }) {
  return html`<${Field} label=${label} hint=${hint} error=${error}>
    ${(/** @type {object} */ attributes) =>
      html`<input ...${attributes} name=${name} type=${type} defaultValue=${value ?? ""} dir="auto" autocomplete="off" ...${rest} />`}
  <//>`;
}

/** @param {{ label: string, name: string, value?: string, hint?: string, rows?: number, [attribute: string]: any }} props */
export function AreaField({ label, hint, error, value, name, rows = 4, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} error=${error}>
    ${(/** @type {object} */ attributes) =>
      html`<textarea ...${attributes} name=${name} rows=${rows} defaultValue=${value ?? ""} dir="auto" ...${rest}></textarea>`}
  <//>`;
}

/** @param {{ label: string, name: string, value?: string, hint?: string, options: { value: string, label: string }[], [attribute: string]: any }} props */
export function SelectField({ label, hint, error, value, name, options, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} error=${error}>
    ${(/** @type {object} */ attributes) =>
      html`<select ...${attributes} name=${name} ...${rest}>
        ${options.map((each) => html`<option value=${each.value} selected=${each.value === value}>${each.label}</option>`)}
      </select>`}
  <//>`;
}

/** @param {{ label: string, name: string, checked?: boolean, hint?: string, value?: string, [attribute: string]: any }} props */
export function CheckField({ label, name, checked = false, hint, error, value = "on", ...rest }) {
  const id = useId();
  return html`<div class="check">
    <input id=${id} type="checkbox" name=${name} value=${value} defaultChecked=${checked} ...${described(id, hint, error)} ...${rest} />
    <label for=${id}>${label}</label>
    <${Notes} id=${id} hint=${hint} error=${error} />
  </div>`;
}

/** A form that hands its fields to `onSubmit`, and shows what that refuses.
 * @param {{ onSubmit: (fields: FormData) => unknown, onCancel?: () => void, action: string, children: any }} props */
export function Form({ onSubmit, onCancel, action, children }) {
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isBusy, setBusy] = useState(false);
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await onSubmit(new FormData(/** @type {HTMLFormElement} */ (event.target)));
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return html`<form class="form" onSubmit=${submit}>
    ${children} ${error !== null && html`<${ErrorNotice} error=${error} />`}
    <footer>
      ${onCancel && html`<${Button} onClick=${onCancel}>${t("action.cancel")}<//>`}
      <${Button} kind="main" type="submit" disabled=${isBusy}>${action}<//>
    </footer>
  </form>`;
}
