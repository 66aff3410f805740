/** Says so when the browser is offline. */

import { t } from "../lib/i18n.js";
import { Icon } from "../components/icon.js";
import { html, useEffect, useState } from "../lib/view.js";

export function ConnectionNote() {
  const [isOnline, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const update = () => setOnline(navigator.onLine);
    addEventListener("online", update);
    addEventListener("offline", update);
    return () => {
      removeEventListener("online", update);
      removeEventListener("offline", update);
    };
  }, []);
  return !isOnline && html`<p class="connection" role="status"><${Icon} name="warning" />${t("error.offline")}</p>`;
}
