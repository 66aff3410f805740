/** One session: its messages, and what is on its way. */

import { getRun, listActiveRuns, listMessages, listRatings, sendMessage, stopSession } from "../api/chat.js";
import { ApiError, eventsOf } from "../api/http.js";
import { newId } from "../lib/ids.js";
import { Store } from "../lib/store.js";
import { entryOf, merged, replyEntry, sentEntry } from "./entries.js";
import { follow, isPassing, pause } from "./follow.js";
import { Reply } from "./reply.js";
import { announce, hearChanges } from "./signals.js";

/** @typedef {import("./entries.js").Entry} Entry */

/** @extends {Store<{ entries: Entry[], hasMore: boolean, isLoading: boolean, error: unknown, activeRuns: number }>} */
export class Conversation extends Store {
  /** @param {string} username @param {string} sessionId @param {{ isNew: boolean }} options */
  constructor(username, sessionId, { isNew }) {
    super({ entries: [], hasMore: false, isLoading: !isNew, error: null, activeRuns: 0 });
    /** What the user thinks of replies, by message: of its own, so that only this is drawn again. @type {Store<{ ratings: Map<number, string> }>} */
    this.opinions = new Store({ ratings: new Map() });
    this.username = username;
    this.sessionId = sessionId;
    this.control = new AbortController();
    /** The runs that are followed, and those that are known to be over. @type {Set<string>} */
    this.known = new Set();
    this.isStored = !isNew;
    /** @type {Promise<void> | null} */
    this.loading = null;
  }

  /** Load the newest messages, and follow what happens; returns what ends it. */
  open() {
    if (this.control.signal.aborted) this.control = new AbortController();
    this.sync();
    if (this.isStored) this.loadRatings();
    const end = hearChanges((sessionId) => sessionId === this.sessionId && this.sync());
    const look = () => document.visibilityState === "visible" && this.sync();
    document.addEventListener("visibilitychange", look);
    addEventListener("online", look);
    return () => {
      end();
      document.removeEventListener("visibilitychange", look);
      removeEventListener("online", look);
      this.control.abort();
      this.known.clear();
    };
  }

  /** Bring the page up to what is stored, and follow the runs that go on. */
  async sync() {
    const { signal } = this.control;
    if (!this.isStored) return;
    try {
      // The runs first: one that ends in between has its reply among the messages.
      const runIds = await listActiveRuns(this.username, this.sessionId, signal);
      const { messages, has_more } = await listMessages(this.username, this.sessionId, { signal });
      const entries = merged(this.value.entries, messages, has_more);
      const hasOlder = entries[0]?.id !== messages.at(-1)?.id;
      this.set({ entries, hasMore: hasOlder ? this.value.hasMore : has_more, isLoading: false, error: null });
      await Promise.all(runIds.map((runId) => this.resume(runId)));
    } catch (error) {
      if (!signal.aborted) this.set({ isLoading: false, error: this.value.entries.length ? null : error });
    }
  }

  async loadRatings() {
    const ratings = await listRatings(this.username, this.sessionId).catch(() => new Map());
    this.opinions.set({ ratings });
  }

  /** Load the messages before the oldest one, once for all who ask meanwhile.
   * @param {() => void} beforeChange what is called before they are put in */
  loadOlder(beforeChange) {
    this.loading ??= this.addOlder(beforeChange).finally(() => (this.loading = null));
    return this.loading;
  }

  /** @param {() => void} beforeChange */
  async addOlder(beforeChange) {
    const oldest = this.value.entries.find((entry) => entry.id !== null);
    if (!oldest || !this.value.hasMore) return;
    const page = await listMessages(this.username, this.sessionId, { before: Number(oldest.id) });
    beforeChange();
    const older = page.messages.toReversed().map((message) => entryOf(message, `message:${message.id}`));
    this.set({ entries: [...older, ...this.value.entries], hasMore: page.has_more });
  }

  /** Send a message and follow its reply. Throws ApiError when Palaver refuses: nothing is left of it then.
   * @param {import("./reply.js").Part[]} parts @param {Record<string, unknown>} options */
  async send(parts, options) {
    const key = newId();
    const body = { username: this.username, session_id: this.sessionId, message: parts, ...options };
    this.set({ entries: [...this.value.entries, sentEntry(key, parts)] });
    try {
      await this.answer(key, (signal) => sendMessage(body, key, signal));
    } catch (error) {
      if (!this.control.signal.aborted) this.drop(key);
      throw error;
    }
  }

  /** Have the message under `key` answered, and show the reply until it is over.
   * @param {string} key @param {(signal: AbortSignal) => Promise<Response>} ask what opens the reply's stream */
  async answer(key, ask) {
    this.set({ activeRuns: this.value.activeRuns + 1 });
    try {
      const { events, reply } = await this.begin(key, ask);
      await this.show(reply, follow(reply, this.control.signal, events));
    } finally {
      this.set({ activeRuns: this.value.activeRuns - 1 });
    }
  }

  /** Ask until it is received, however often the network is cut: an Idempotency-Key keeps it from being done twice.
   * @param {string} key @param {(signal: AbortSignal) => Promise<Response>} ask */
  async begin(key, ask) {
    const { signal } = this.control;
    for (let attempt = 0; ; attempt++) {
      try {
        const events = eventsOf(await ask(signal));
        const first = await events.next();
        if (!first.done && first.value.data.run_id) {
          this.isStored = true;
          const reply = new Reply(first.value.data.run_id);
          this.known.add(reply.runId);
          this.tag(key, { runId: reply.runId, status: "complete" });
          return { reply, events: this.watchSaved(key, events) };
        }
      } catch (error) {
        if (!(error instanceof ApiError) || !isPassing(error)) throw error;
        if (error.status === 429 || error.status === 503) throw error;
      }
      await pause(attempt, signal);
    }
  }

  /** The events, with the number of the user's message taken from them.
   * @param {string} key @param {AsyncGenerator<{ id: number, data: any }>} events */
  async *watchSaved(key, events) {
    for await (const event of events) {
      if (event.data.type === "user_message_saved") {
        this.tag(key, { id: event.data.data.id, createdAt: event.data.data.created_at });
        announce(this.sessionId);
      }
      yield event;
    }
  }

  /** Follow a run that this page has not begun, if it is not over.
   * @param {string} runId */
  async resume(runId) {
    if (this.known.has(runId)) return;
    this.known.add(runId);
    const run = await getRun(runId).catch(() => null);
    if (!run || !["queued", "running", "requires_action"].includes(run.status)) return;
    const reply = new Reply(runId);
    const question = this.value.entries.find((entry) => entry.role === "user" && entry.id === run.user_message_id);
    if (question && question.runId !== runId) {
      // It is answered once more: what followed it is an alternative now.
      this.endWith(question.key);
      this.tag(question.key, { runId });
    }
    this.set({ activeRuns: this.value.activeRuns + 1 });
    this.show(reply, follow(reply, this.control.signal))
      .catch(() => {})
      .finally(() => this.set({ activeRuns: this.value.activeRuns - 1 }));
  }

  /** Show a reply until it is over, then what was stored of it.
   * @param {Reply} reply @param {Promise<void>} following */
  async show(reply, following) {
    this.insert(replyEntry(reply));
    try {
      await following;
    } catch (error) {
      if (this.control.signal.aborted) throw error;
      reply.put({ state: "over", error: { code: "", text: String(/** @type {Error} */ (error).message) } });
    }
    reply.put({ state: "over" });
    await this.sync();
    announce(this.sessionId);
  }

  async stop() {
    await stopSession(this.username, this.sessionId);
  }

  /** @param {Entry} entry */
  insert(entry) {
    const entries = this.value.entries.filter((each) => each.key !== entry.key);
    const question = entries.findLastIndex((each) => each.role === "user" && each.runId === entry.runId);
    entries.splice(question < 0 ? entries.length : question + 1, 0, entry);
    this.set({ entries });
  }

  /** @param {string} key @param {Partial<Entry>} changes */
  tag(key, changes) {
    // A look at the server in between may have brought the message before its own events did.
    const others = this.value.entries.filter((entry) => entry.key === key || !isSame(entry, changes));
    this.set({ entries: others.map((entry) => (entry.key === key ? { ...entry, ...changes } : entry)) });
  }

  /** Take what follows a message off the page.
   * @param {string} key */
  endWith(key) {
    const place = this.value.entries.findIndex((entry) => entry.key === key);
    if (place >= 0) this.set({ entries: this.value.entries.slice(0, place + 1) });
  }

  /** @param {string} key */
  drop(key) {
    this.set({ entries: this.value.entries.filter((entry) => entry.key !== key) });
  }
}

/** Whether an entry is the user's message that `changes` are about.
 * @param {Entry} entry @param {Partial<Entry>} changes */
function isSame(entry, changes) {
  return entry.role === "user" && (changes.id !== undefined ? entry.id === changes.id : entry.runId === changes.runId);
}
