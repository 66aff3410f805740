/** Places in the page: `#/keys`, `#/chat/<session>`. */

import { Store } from "./store.js";

/** Where the address leads now; `route` hears of it a moment later.
 * @returns {{ area: string, rest: string }} */
export function place() {
  const [, area = "", ...rest] = location.hash.split("/");
  return { area: decode(area), rest: decode(rest.join("/")) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @type {Store<{ area: string, rest: string }>} */
export const route = new Store(place());

addEventListener("hashchange", () => route.set(place()));

/** @param {string} area @param {string} [rest] */
export function addressOf(area, rest) {
  return `#/${area}${rest ? `/${encodeURIComponent(rest)}` : ""}`;
}

/** Go to a place; with `replace`, the present one is left out of the browser's history.
 * @param {string} area @param {string} [rest] @param {{ replace?: boolean }} [options] */
export function go(area, rest, { replace = false } = {}) {
  const address = addressOf(area, rest);
  if (location.hash === address) return;
  if (replace) {
    history.replaceState(null, "", address);
    route.set(place());
  } else {
    location.hash = address;
  }
}
