/** Times, numbers and sizes as people read them. */

import { language, t } from "./i18n.js";

/** To make a format costs more than to use it. @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {Date} date @param {Intl.DateTimeFormatOptions} options */
function formatted(date, options) {
  const key = language.value.language + JSON.stringify(options);
  const format = formats.get(key) ?? new Intl.DateTimeFormat(language.value.language, options);
  formats.set(key, format);
  return format.format(date);
}

/** @param {string | null | undefined} time ISO 8601 */
export function dateTime(time) {
  if (!time) return "–";
  return formatted(new Date(time), { dateStyle: "medium", timeStyle: "short" });
}

/** Today's times as times, others as dates.
 * @param {string} time */
export function shortTime(time) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return formatted(date, isToday ? { timeStyle: "short" } : { month: "short", day: "numeric" });
}

/** A day of a chart, which counts days in UTC.
 * @param {number} seconds */
export function chartDay(seconds) {
  return formatted(new Date(seconds * 1000), { month: "short", day: "numeric", timeZone: "UTC" });
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export function number(value, options) {
  return value.toLocaleString(language.value.language, options);
}

/** @param {number} value */
export function compact(value) {
  return number(value, { notation: "compact", maximumFractionDigits: 1 });
}

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${number(bytes / 1024 ** power, { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  return milliseconds < 1000
    ? `${number(milliseconds, { maximumFractionDigits: 0 })} ms`
    : `${number(milliseconds / 1000, { maximumFractionDigits: 1 })} s`;
}

/** How long ago, roughly.
 * @param {string | null | undefined} time */
export function ago(time) {
  if (!time) return t("time.never");
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  const format = new Intl.RelativeTimeFormat(language.value.language, { numeric: "auto" });
  if (seconds < 60) return t("time.now");
  if (seconds < 3600) return format.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86400) return format.format(-Math.round(seconds / 3600), "hour");
  return format.format(-Math.round(seconds / 86400), "day");
}
