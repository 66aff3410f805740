/** Texts in the reader's language: English or Chinese, by the browser's settings or by choice. */

import { en } from "../strings/en.js";
import { Store } from "./store.js";

/** @typedef {keyof typeof en} Key */

const STORED = "palaver.language";
/** @type {Record<string, string>} */
export const LANGUAGES = { en: "English", zh: "中文" };

/** @type {Store<{ language: string, texts: Record<string, string> }>} */
export const language = new Store({ language: "en", texts: en });

/** Load the texts of the stored language, or of the browser's first that there is. */
export async function openLanguage() {
  const preferred = [stored(), ...navigator.languages.map((each) => each.split("-")[0])];
  await setLanguage(preferred.find((each) => each && each in LANGUAGES) ?? "en");
}

/** @param {string} code */
export async function chooseLanguage(code) {
  localStorage.setItem(STORED, code);
  await setLanguage(code);
}

/** @param {string} code */
async function setLanguage(code) {
  const texts = code === "zh" ? (await import("../strings/zh.js")).zh : en;
  document.documentElement.lang = code === "zh" ? "zh-CN" : "en";
  language.set({ language: code, texts });
}

function stored() {
  return localStorage.getItem(STORED) ?? "";
}

/** The text of `key`, with `{name}` replaced by its value.
 * @param {Key} key @param {Record<string, string | number>} [values] */
export function t(key, values) {
  const text = language.value.texts[key] ?? en[key] ?? key;
  return values ? text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole)) : text;
}
