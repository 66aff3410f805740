/** What replies used over a day, a week or a month, and what goes on now. */

import { may } from "../account.js";
import { listKeys } from "../api/manage.js";
import { readPresent, readUsage, usageTable } from "../api/usage.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Table } from "../components/table.js";
import { compact, duration, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useRefreshing, useResource } from "../lib/resource.js";
import { html, useState } from "../lib/view.js";
import { UsageChart } from "./usage_chart.js";

/** @typedef {import("../api/usage.js").UsageRow} Row */
/** @typedef {"model" | "key" | "user" | "provider"} Group */

const DAYS = /** @type {const} */ ({ day: 1, week: 7, month: 30 });
const GROUPS = /** @type {Group[]} */ (["model", "provider", "key", "user"]);

/** The first and the last day of a period, in UTC as usage is counted.
 * @param {number} days */
function bounds(days) {
  const day = (/** @type {number} */ back) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);
  return { from: day(days - 1), to: day(0) };
}

export default function Overview() {
  const [period, setPeriod] = useState(/** @type {keyof typeof DAYS} */ ("week"));
  const [group, setGroup] = useState(/** @type {Group} */ ("model"));
  const { from, to } = bounds(DAYS[period]);
  const usage = useResource(
    async (signal) => {
      const [sums, days, groups, present, keys] = await Promise.all([
        readUsage({ from, to, groups: [], signal }),
        readUsage({ from, to, groups: ["day"], signal }),
        readUsage({ from, to, groups: [group], signal }),
        readPresent(),
        group === "key" && may("admin") ? listKeys() : [],
      ]);
      return { sum: sums[0], days, groups, present, names: new Map(keys.map((key) => [key.key_id, key.name])) };
    },
    [from, to, group],
  );
  useRefreshing(() => usage.reload(), 30, [usage.reload]);
  const periods = html`<div class="segments" role="group" aria-label=${t("usage.period")}>
    ${/** @type {(keyof typeof DAYS)[]} */ (Object.keys(DAYS)).map(
      (name) => html`<button type="button" class="button small" aria-pressed=${String(name === period)} onClick=${() => setPeriod(name)}>${t(`period.${name}`)}</button>`,
    )}
  </div>`;
  return html`<${Page} title=${t("area.overview")} intro=${t("usage.intro")} actions=${periods}>
    <${Loaded} resource=${usage}>
      ${(/** @type {any} */ { sum, days, groups, present, names }) => html`
        <${Figures} sum=${sum} present=${present} />
        ${!sum?.requests
          ? html`<${Empty} icon="overview" title=${t("usage.none")}>${t("usage.noneText")}<//>`
          : html`<section class="section">
                <h2>${t("usage.byDay")}</h2>
                <${UsageChart} days=${days} from=${from} to=${to} />
              </section>
              <${Groups} group=${group} rows=${groups} names=${names} onChoose=${setGroup} address=${usageTable(from, to, ["day", group])} />
              <${Failures} causes=${sum.failures_by_cause} />`}
      `}
    <//>
  <//>`;
}

/** @param {{ sum: Row | undefined, present: Awaited<ReturnType<typeof readPresent>> }} props */
function Figures({ sum, present }) {
  /** @type {[string, string][]} */
  const figures = [
    [t("usage.requests"), number(sum?.requests ?? 0)],
    [t("usage.failures"), number(sum?.failures ?? 0)],
    [t("usage.input"), compact(sum?.input_tokens ?? 0)],
    [t("usage.output"), compact(sum?.output_tokens ?? 0)],
    [t("usage.cost"), costOf(sum?.cost ?? 0)],
    [t("usage.firstToken"), firstTokenOf(sum)],
    ...(present
      ? /** @type {[string, string][]} */ ([
          [t("usage.openReplies"), number(present.replies + present.waiting)],
          [t("usage.openStreams"), number(present.streams)],
        ])
      : []),
  ];
  return html`<dl class="figures">
    ${figures.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** @param {number} cost */
function costOf(cost) {
  return number(cost, { maximumFractionDigits: cost < 1 ? 4 : 2 });
}

/** @param {Row | undefined} row */
function firstTokenOf(row) {
  return row?.first_token_ms_p50 == null ? "–" : duration(row.first_token_ms_p50);
}

/** @param {{ group: Group, rows: Row[], names: Map<string, string>, onChoose: (group: Group) => void, address: string }} props */
function Groups({ group, rows, names, onChoose, address }) {
  /** @type {import("../components/table.js").Column<Row>[]} */
  const columns = [
    { title: t(`group.${group}`), isMain: true, cell: (row) => html`<bdi>${names.get(String(row[group])) ?? row[group]}</bdi>` },
    { title: t("usage.requests"), isNumber: true, cell: (row) => number(row.requests) },
    { title: t("usage.failures"), isNumber: true, cell: (row) => number(row.failures) },
    { title: t("usage.input"), isNumber: true, cell: (row) => compact(row.input_tokens) },
    { title: t("usage.output"), isNumber: true, cell: (row) => compact(row.output_tokens) },
    { title: t("usage.cost"), isNumber: true, cell: (row) => costOf(row.cost) },
    { title: t("usage.firstToken"), isNumber: true, cell: firstTokenOf },
  ];
  const sorted = [...rows].sort((one, other) => other.requests - one.requests);
  return html`<section class="section">
    <div class="section-header">
      <h2>${t("usage.by")}</h2>
      <div class="row">
        <select aria-label=${t("usage.by")} onChange=${(/** @type {any} */ event) => onChoose(event.target.value)}>
          ${GROUPS.map((name) => html`<option value=${name} selected=${name === group}>${t(`group.${name}`)}</option>`)}
        </select>
        <a href=${address} download="usage.csv">CSV</a>
      </div>
    </div>
    <${Table} label=${t("usage.by")} columns=${columns} rows=${sorted} keyOf=${(/** @type {Row} */ row) => String(row[group])} />
  </section>`;
}

/** @param {{ causes: Record<string, number> }} props */
function Failures({ causes }) {
  const rows = Object.entries(causes).sort(([, one], [, other]) => other - one);
  if (rows.length === 0) return null;
  /** @type {import("../components/table.js").Column<[string, number]>[]} */
  const columns = [
    { title: t("usage.cause"), isMain: true, cell: ([code]) => html`<code>${code}</code>` },
    { title: t("usage.failures"), isNumber: true, cell: ([, count]) => number(count) },
  ];
  return html`<section class="section">
    <h2>${t("usage.byCause")}</h2>
    <${Table} label=${t("usage.byCause")} columns=${columns} rows=${rows} keyOf=${(/** @type {[string, number]} */ [code]) => code} />
  </section>`;
}
