/** Requests and tokens for each day, as bars and a line. */

import { chartDay, compact, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { html, useEffect, useRef } from "../lib/view.js";
import UPlot from "../vendor/uplot.js";

const HEIGHT = 240;
const DAY = 86_400;

/** @param {{ days: import("../api/usage.js").UsageRow[], from: string, to: string }} props */
export function UsageChart({ days, from, to }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const place = /** @type {HTMLElement} */ (element.current);
    const draw = () => new UPlot(optionsOf(place), seriesOf(days, from, to), place);
    let chart = draw();
    const again = () => {
      chart.destroy();
      chart = draw();
    };
    const resized = new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: HEIGHT }));
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    resized.observe(place);
    scheme.addEventListener("change", again);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", again);
      chart.destroy();
    };
  }, [days, from, to]);
  const label = t("usage.chart", { count: number(days.reduce((sum, day) => sum + day.requests, 0)), days: days.length });
  return html`<link rel="stylesheet" href=${new URL("../vendor/uplot.css", import.meta.url).href} />
    <div class="chart" role="img" aria-label=${label}>
      <i class="text"></i><i class="grid"></i><i class="bar"></i><i class="curve"></i>
      <div ref=${element}></div>
    </div>`;
}

/** Every day of the period, also those without a request.
 * @param {import("../api/usage.js").UsageRow[]} days @param {string} from @param {string} to
 * @returns {[number[], number[], number[]]} */
function seriesOf(days, from, to) {
  const byDay = new Map(days.map((row) => [row.day, row]));
  /** @type {[number[], number[], number[]]} */
  const series = [[], [], []];
  for (let time = Date.parse(from) / 1000; time <= Date.parse(to) / 1000; time += DAY) {
    const row = byDay.get(new Date(time * 1000).toISOString().slice(0, 10));
    series[0].push(time);
    series[1].push(row?.requests ?? 0);
    series[2].push((row?.input_tokens ?? 0) + (row?.output_tokens ?? 0));
  }
  return series;
}

/** @param {HTMLElement} place @returns {import("uplot").Options} */
function optionsOf(place) {
  // A canvas needs colours as they are computed, which elements have.
  const colour = (/** @type {string} */ name) => getComputedStyle(/** @type {Element} */ (place.parentElement?.querySelector(`.${name}`))).color;
  const axis = {
    stroke: colour("text"),
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { show: false },
    font: `12px ${getComputedStyle(place).fontFamily}`,
  };
  const values = (/** @type {unknown} */ _, /** @type {number[]} */ splits) => splits.map((value) => compact(value));
  return {
    width: place.clientWidth,
    height: HEIGHT,
    tzDate: (seconds) => UPlot.tzDate(new Date(seconds * 1000), "UTC"),
    legend: { live: false },
    cursor: { show: false },
    scales: { x: { time: true, range: (_, min, max) => [min - DAY / 2, max + DAY / 2] }, requests: { range: (_, __, max) => [0, Math.max(max, 4)] }, tokens: { range: (_, __, max) => [0, Math.max(max, 10)] } },
    axes: [
      { ...axis, values: (/** @type {unknown} */ _, /** @type {number[]} */ splits) => splits.map(chartDay), incrs: [DAY, 2 * DAY, 7 * DAY], space: 56 },
      { ...axis, scale: "requests", values, size: 44 },
      { ...axis, scale: "tokens", side: 1, grid: { show: false }, values, size: 52 },
    ],
    series: [
      {},
      {
        label: t("usage.requests"),
        scale: "requests",
        stroke: colour("bar"),
        fill: colour("bar"),
        paths: UPlot.paths.bars?.({ size: [0.6, 40], radius: 0.15 }),
        points: { show: false },
      },
      { label: t("usage.tokens"), scale: "tokens", stroke: colour("curve"), width: 2, points: { size: 5 } },
    ],
  };
}
