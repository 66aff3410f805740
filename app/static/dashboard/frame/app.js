/** The whole page: the frame around an area, or the way in. */

import { account, findMe } from "../account.js";
import { ErrorNotice, Loading } from "../components/notice.js";
import { Toasts } from "../components/toasts.js";
import { language } from "../lib/i18n.js";
import { useStore } from "../lib/store.js";
import { html } from "../lib/view.js";
import { Shell } from "./shell.js";
import { SignIn } from "./sign_in.js";

export function App() {
  const { state, me, problem } = useStore(account);
  useStore(language);
  return html`${view(state, me, problem)}<${Toasts} />`;
}

/** @param {import("../account.js").State} state @param {import("../account.js").Me | null} me @param {unknown} problem */
function view(state, me, problem) {
  if (state === "in" && me) return html`<${Shell} key=${me.key_id} me=${me} />`;
  if (state === "out") return html`<${SignIn} problem=${problem} />`;
  if (state === "unreachable") {
    return html`<main class="alone"><${ErrorNotice} error=${problem} onRetry=${findMe} /></main>`;
  }
  return html`<main class="alone"><${Loading} /></main>`;
}
