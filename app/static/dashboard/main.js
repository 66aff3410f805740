/** Starts the dashboard. */

import { openAccount } from "./account.js";
import { App } from "./frame/app.js";
import { openLanguage } from "./lib/i18n.js";
import { html, render } from "./lib/view.js";

await openLanguage();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
await openAccount();
