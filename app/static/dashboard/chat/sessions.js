/** The list of a user's sessions, page by page: pinned ones first. */

import { changeSession, deleteSession, listSessions } from "../api/chat.js";
import { Store } from "../lib/store.js";
import { hearChanges } from "./signals.js";

/** @typedef {import("../api/types.js").Session} Session */

/** @extends {Store<{ pinned: Session[], sessions: Session[], total: number, isLoading: boolean, error: unknown, search: string, label: string }>} */
export class Sessions extends Store {
  /** @param {string} username */
  constructor(username) {
    super({ pinned: [], sessions: [], total: 0, isLoading: true, error: null, search: "", label: "" });
    this.username = username;
    this.page = 1;
    this.request = 0;
  }

  /** Load the first page, and again when something changes; returns what ends it. */
  open() {
    this.refresh();
    const end = hearChanges(() => this.refresh());
    const look = () => document.visibilityState === "visible" && this.refresh();
    const timer = setInterval(look, 30_000); // messages come from bots and programs too
    document.addEventListener("visibilitychange", look);
    return () => {
      end();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }

  /** @param {number} page @param {boolean} pinned */
  list(page, pinned) {
    const { search, label } = this.value;
    return listSessions(this.username, { page, pinned, search, label });
  }

  async refresh() {
    const request = ++this.request;
    try {
      const [pinned, { sessions, total }] = await Promise.all([this.list(1, true), this.list(1, false)]);
      if (request !== this.request) return; // another search is on its way
      const known = idsOf([...sessions, ...pinned.sessions]);
      const older = this.page > 1 ? this.value.sessions.filter((session) => !known.has(session.session_id)) : [];
      this.set({ pinned: pinned.sessions, sessions: [...sessions, ...older], total, isLoading: false, error: null });
    } catch (error) {
      this.set({ isLoading: false, error: this.value.sessions.length ? null : error });
    }
  }

  /** Show only sessions whose title has the text, or with the label.
   * @param {{ search?: string, label?: string }} filter */
  async narrow(filter) {
    this.page = 1;
    this.set(filter);
    await this.refresh();
  }

  get all() {
    return [...this.value.pinned, ...this.value.sessions];
  }

  get hasMore() {
    return this.value.sessions.length < this.value.total;
  }

  async loadMore() {
    if (!this.hasMore) return;
    const { sessions, total } = await this.list(++this.page, false);
    const known = idsOf(this.all);
    this.set({ sessions: [...this.value.sessions, ...sessions.filter(({ session_id }) => !known.has(session_id))], total });
  }

  /** @param {string} sessionId @param {{ display_name?: string, labels?: string[], pinned?: boolean }} changes */
  async change(sessionId, changes) {
    await changeSession(this.username, sessionId, changes);
    await this.refresh();
  }

  /** @param {string} sessionId */
  async remove(sessionId) {
    await deleteSession(this.username, sessionId);
    const sessions = this.value.sessions.filter((session) => session.session_id !== sessionId);
    this.set({ sessions });
    await this.refresh();
  }
}

/** @param {Session[]} sessions */
function idsOf(sessions) {
  return new Set(sessions.map((session) => session.session_id));
}
