/** The list of a user's sessions, page by page. */

import { changeSession, deleteSession, listSessions } from "../api/chat.js";
import { Store } from "../lib/store.js";
import { hearChanges } from "./signals.js";

/** @typedef {import("../api/types.js").Session} Session */

/** @extends {Store<{ sessions: Session[], total: number, isLoading: boolean, error: unknown }>} */
export class Sessions extends Store {
  /** @param {string} username */
  constructor(username) {
    super({ sessions: [], total: 0, isLoading: true, error: null });
    this.username = username;
    this.page = 1;
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

  async refresh() {
    try {
      const { sessions, total } = await listSessions(this.username, { page: 1 });
      const ids = new Set(sessions.map((session) => session.session_id));
      const older = this.page > 1 ? this.value.sessions.filter((session) => !ids.has(session.session_id)) : [];
      this.set({ sessions: [...sessions, ...older], total, isLoading: false, error: null });
    } catch (error) {
      this.set({ isLoading: false, error: this.value.sessions.length ? null : error });
    }
  }

  get hasMore() {
    return this.value.sessions.length < this.value.total;
  }

  async loadMore() {
    if (!this.hasMore) return;
    const { sessions, total } = await listSessions(this.username, { page: ++this.page });
    const ids = new Set(this.value.sessions.map((session) => session.session_id));
    this.set({ sessions: [...this.value.sessions, ...sessions.filter(({ session_id }) => !ids.has(session_id))], total });
  }

  /** @param {string} sessionId @param {string} name */
  async rename(sessionId, name) {
    await changeSession(this.username, sessionId, { display_name: name });
    await this.refresh();
  }

  /** @param {string} sessionId */
  async remove(sessionId) {
    await deleteSession(this.username, sessionId);
    const sessions = this.value.sessions.filter((session) => session.session_id !== sessionId);
    this.set({ sessions, total: this.value.total - 1 });
  }
}
