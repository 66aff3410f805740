/** Who is signed in. The session itself is in a cookie that scripts cannot read. */

import { ApiError, request, whenSignedOut } from "./api/http.js";
import { go } from "./lib/router.js";
import { Store } from "./lib/store.js";

/** @typedef {{ key_id: string, name: string, scopes: string[], username: string | null, is_browser_session: boolean, expires_at: string | null }} Me */
/** @typedef {"starting" | "in" | "out" | "unreachable"} State */

/** @type {Store<{ state: State, me: Me | null, username: string, problem: unknown }>} */
export const account = new Store({
  state: /** @type {State} */ ("starting"),
  me: /** @type {Me | null} */ (null),
  username: "",
  problem: /** @type {unknown} */ (null),
});

const USERNAME = "palaver.username";
const TOKEN = /^#token=([\w-]+)$/;

/** Sign in with the token of the address, if there is one, and find out who this is. */
export async function openAccount() {
  whenSignedOut(() => {
    if (account.value.state === "in") account.set({ state: "out", me: null });
  });
  addEventListener("hashchange", useToken);
  if (!(await useToken())) await findMe();
}

/** Sign in with the token of the address, which is taken out of it at once. */
async function useToken() {
  const token = TOKEN.exec(location.hash)?.[1];
  if (!token) return false;
  history.replaceState(null, "", location.pathname + location.search);
  go("", "", { replace: true });
  try {
    await request("POST", "api/v1/browser-sessions", { body: { token } });
  } catch (problem) {
    // A token that was used before: whoever is signed in already stays.
    await findMe();
    if (account.value.state === "out") account.set({ problem });
    return true;
  }
  await findMe();
  return true;
}

/** @param {string} key */
export async function signInWithKey(key) {
  await request("POST", "api/v1/browser-sessions", { body: { key } });
  await findMe();
}

export async function signOut() {
  await request("DELETE", "api/v1/browser-sessions");
  account.set({ state: "out", me: null, problem: null });
}

export async function findMe() {
  try {
    /** @type {Me} */
    const me = await request("GET", "api/v1/me");
    const username = me.username ?? localStorage.getItem(USERNAME) ?? "admin";
    account.set({ state: "in", me, username, problem: null });
  } catch (problem) {
    const isOut = problem instanceof ApiError && problem.status === 401;
    account.set({ state: isOut ? "out" : "unreachable", me: null, problem: isOut ? null : problem });
  }
}

/** Chat as another user; for a key that is bound to none.
 * @param {string} username */
export function chooseUsername(username) {
  localStorage.setItem(USERNAME, username);
  account.set({ username });
}

/** @param {string} scope */
export function may(scope) {
  return account.value.me?.scopes.includes(scope) ?? false;
}
