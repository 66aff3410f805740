/** The frame of someone who is signed in: the areas beside the one that is open. */

import { areasFor } from "../areas.js";
import { Button } from "../components/button.js";
import { Empty, ErrorNotice, Loading } from "../components/notice.js";
import { t } from "../lib/i18n.js";
import { go, place, route } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html, useEffect, useErrorBoundary, useState } from "../lib/view.js";
import { ConnectionNote } from "./connection_note.js";
import { Logo } from "./logo.js";
import { Navigation } from "./navigation.js";

/** @param {{ me: import("../account.js").Me }} props */
export function Shell({ me }) {
  const current = useStore(route);
  const areas = areasFor(me.scopes);
  const area = areas.find((each) => each.id === current.area);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    if (!areas.some((each) => each.id === place().area) && areas[0]) go(areas[0].id, "", { replace: true });
  }, [area]);
  useEffect(() => setOpen(false), [current]);
  return html`<div class="shell">
    <a class="skip" href="#content" onClick=${skip}>${t("frame.skip")}</a>
    <header class="bar">
      <${Button} kind="quiet" icon="menu" label=${t("frame.menu")} expanded=${isOpen} onClick=${() => setOpen(!isOpen)} />
      <${Logo} />
    </header>
    <${Navigation} areas=${areas} current=${area?.id} me=${me} isOpen=${isOpen} onClose=${() => setOpen(false)} />
    <main id="content" tabindex="-1">
      <${ConnectionNote} />
      ${area ? html`<${AreaView} key=${area.id} area=${area} rest=${current.rest} />` : areas.length === 0 && html`<${Empty} icon="key" title=${t("frame.noScopes")} />`}
    </main>
  </div>`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault(); // the address says which area is open
  document.getElementById("content")?.focus();
}

/** An area, loaded when it is first opened.
 * @param {{ area: import("../areas.js").Area, rest: string }} props */
function AreaView({ area, rest }) {
  const [view, setView] = useState(/** @type {{ draw: any } | null} */ (null));
  const [problem, setProblem] = useState(/** @type {unknown} */ (null));
  const [crash] = useErrorBoundary((error) => console.error(error));
  useEffect(() => {
    // What fails here is a dashboard of another version than the server's.
    area.load().then((module) => setView({ draw: module.default }), () => setProblem(new Error(t("error.outdated"))));
  }, [area.id]);
  if (crash || problem) {
    return html`<div class="page"><${ErrorNotice} error=${problem ?? crash} onRetry=${() => location.reload()} /></div>`;
  }
  return view ? html`<${view.draw} rest=${rest} />` : html`<div class="page"><${Loading} /></div>`;
}
