/** The list of areas, and below it who is signed in. */

import { account, chooseUsername, signOut } from "../account.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { Form, TextField } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { t } from "../lib/i18n.js";
import { addressOf } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html, useState } from "../lib/view.js";
import { LanguageChoice } from "./language_choice.js";
import { Logo } from "./logo.js";

/** @type {import("../areas.js").Area["group"][]} */
const GROUPS = ["use", "content", "manage"];

/** @param {{ areas: import("../areas.js").Area[], current?: string, me: import("../account.js").Me, isOpen: boolean, onClose: () => void }} props */
export function Navigation({ areas, current, me, isOpen, onClose }) {
  return html`<nav class=${`navigation ${isOpen ? "open" : ""}`} aria-label=${t("frame.areas")} onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && onClose()}>
      <${Logo} />
      <div class="areas">
        ${GROUPS.map((group) => {
          const own = areas.filter((area) => area.group === group);
          return (
            own.length > 0 &&
            html`<ul>
              ${own.map(
                (area) => html`<li key=${area.id}>
                  <a href=${addressOf(area.id)} aria-current=${area.id === current ? "page" : undefined} onClick=${onClose}>
                    <${Icon} name=${area.icon} />${t(area.title)}
                  </a>
                </li>`,
              )}
            </ul>`
          );
        })}
      </div>
      <${Account} me=${me} />
    </nav>
    ${isOpen && html`<div class="veil" onClick=${onClose}></div>`}`;
}

/** @param {{ me: import("../account.js").Me }} props */
function Account({ me }) {
  const { username } = useStore(account);
  const [isChanging, setChanging] = useState(false);
  return html`<div class="account">
    <p class="who">
      <span class="avatar" aria-hidden="true">${[...username][0]?.toUpperCase()}</span>
      <span>
        <bdi class="name">${username}</bdi>
        <span class="detail" dir="auto">${me.name}</span>
      </span>
      ${me.username === null && html`<${Button} kind="quiet" small icon="edit" label=${t("account.change")} onClick=${() => setChanging(true)} />`}
    </p>
    <div class="row">
      <${LanguageChoice} />
      ${me.is_browser_session && html`<${Button} kind="quiet" small icon="out" label=${t("account.signOut")} onClick=${signOut} />`}
    </div>
    ${isChanging && html`<${UsernameDialog} username=${username} onClose=${() => setChanging(false)} />`}
  </div>`;
}

/** @param {{ username: string, onClose: () => void }} props */
function UsernameDialog({ username, onClose }) {
  /** @param {FormData} fields */
  const save = (fields) => {
    chooseUsername(String(fields.get("username")).trim());
    onClose();
  };
  return html`<${Dialog} title=${t("account.change")} onClose=${onClose}>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <${TextField} label=${t("account.username")} hint=${t("account.usernameHint")} name="username" value=${username} required maxlength="255" pattern=".*\\S.*" />
    <//>
  <//>`;
}
