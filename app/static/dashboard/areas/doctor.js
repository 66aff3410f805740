/** The self-test: the server, and the way between it and this browser. */

import { may } from "../account.js";
import { askServer, measureSocket, measureStream } from "../api/doctor.js";
import { Button } from "../components/button.js";
import { CopyBlock } from "../components/copy.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { messageOf } from "../components/toasts.js";
import { duration, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { html, useEffect, useState } from "../lib/view.js";

/** @typedef {import("../api/doctor.js").Check} Check */
/** @typedef {Check | { name: string, state: "running", detail: string, milliseconds: null }} Line */

const TONES = /** @type {const} */ ({ ok: "good", warning: "wait", failed: "bad", running: "plain" });
const CLOCK_SECONDS = 2;
const NGINX = `location / {
    proxy_pass http://127.0.0.1:6185;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
}`;

export default function Doctor() {
  const [lines, setLines] = useState(/** @type {Line[]} */ ([]));
  const [isBuffered, setBuffered] = useState(false);
  const run = async () => {
    setBuffered(false);
    const names = [...(may("admin") ? ["server"] : []), "streams", "websockets"];
    setLines(names.map((name) => ({ name, state: "running", detail: "", milliseconds: null })));
    /** @param {string} name @param {() => Promise<Check[]>} check */
    const put = async (name, check) => {
      const found = await check().catch((error) => [failed(name, messageOf(error))]);
      setLines((all) => all.flatMap((line) => (line.name === name ? found : [line])));
    };
    await Promise.all([
      may("admin") && put("server", checkServer),
      put("streams", async () => [await checkStreams(setBuffered)]),
      may("chat") && put("websockets", async () => [await checkSockets()]),
    ]);
  };
  useEffect(() => {
    run();
  }, []);
  /** @type {import("../components/table.js").Column<Line>[]} */
  const columns = [
    { title: t("check.name"), isMain: true, cell: (line) => nameOf(line.name) },
    { title: t("check.state"), cell: (line) => html`<${Badge} tone=${TONES[line.state]}>${t(`check.${line.state}`)}<//>` },
    { title: t("check.detail"), cell: (line) => html`<span dir="auto">${line.detail}</span>` },
    { title: t("check.time"), isNumber: true, cell: (line) => (line.milliseconds === null ? "–" : duration(line.milliseconds)) },
  ];
  return html`<${Page} title=${t("area.doctor")} intro=${t("check.intro")} actions=${html`<${Button} icon="again" onClick=${run}>${t("check.again")}<//>`}>
    <div role="status"><${Table} label=${t("area.doctor")} columns=${columns} rows=${lines} keyOf=${(/** @type {Line} */ line) => line.name} /></div>
    ${isBuffered &&
    html`<section class="section">
      <h2>${t("check.bufferedTitle")}</h2>
      <p>${t("check.bufferedText")}</p>
      <${CopyBlock} text=${NGINX} label="nginx" />
    </section>`}
  <//>`;
}

/** @param {string} name */
function nameOf(name) {
  const known = ["version", "migrations", "database", "storage", "disk", "clocks", "streams", "websockets", "server"];
  if (known.includes(name)) return t(/** @type {any} */ (`check.${name}`));
  return name.startsWith("model server ") ? t("check.model", { id: name.slice("model server ".length) }) : name;
}

/** @param {string} name @param {string} detail @returns {Check} */
function failed(name, detail) {
  return { name, state: "failed", detail, milliseconds: null };
}

/** @returns {Promise<Check[]>} */
async function checkServer() {
  const { checks, clock } = await askServer();
  const apart = number(Math.abs(clock), { maximumFractionDigits: 1 });
  const state = Math.abs(clock) > CLOCK_SECONDS ? "warning" : "ok";
  return [...checks, { name: "clocks", state, detail: t("check.apart", { seconds: apart }), milliseconds: null }];
}

/** @param {(isBuffered: boolean) => void} setBuffered @returns {Promise<Check>} */
async function checkStreams(setBuffered) {
  const { sent, arrived, isBuffered } = await measureStream();
  setBuffered(isBuffered);
  if (!isBuffered) return { name: "streams", state: "ok", detail: t("check.streamsOk"), milliseconds: null };
  return failed("streams", t("check.streamsBuffered", { sent: duration(sent), arrived: duration(arrived) }));
}

/** @returns {Promise<Check>} */
async function checkSockets() {
  try {
    return { name: "websockets", state: "ok", detail: t("check.socketsOk"), milliseconds: await measureSocket() };
  } catch {
    return failed("websockets", t("check.socketsFailed"));
  }
}
