/** Changes to a conversation: other words, other replies, other paths. */

import { deleteTurn, editMessage, forkSession, rate, regenerate, selectMessage } from "../api/chat.js";
import { newId } from "../lib/ids.js";
import { go } from "../lib/router.js";
import { optionsOf } from "./options_view.js";
import { announce } from "./signals.js";

/** @typedef {import("./entries.js").Entry} Entry */

export class Turns {
  /** @param {import("./conversation.js").Conversation} conversation */
  constructor(conversation) {
    this.conversation = conversation;
  }

  /** Say something else instead, and have it answered; the old message stays as an alternative.
   * @param {Entry} entry @param {string} text */
  async edit(entry, text) {
    const { username, sessionId } = this.conversation;
    const parts = [{ type: "plain", text }, ...entry.parts.filter((part) => part.type !== "plain")];
    const { message } = await editMessage(username, sessionId, Number(entry.id), parts);
    await this.conversation.sync();
    const edited = this.conversation.value.entries.find((each) => each.id === message.id);
    if (edited) await this.regenerate(edited);
  }

  /** Have a message, or the one that a reply answers, answered once more.
   * @param {Entry} entry */
  async regenerate(entry) {
    const { username, sessionId, value } = this.conversation;
    const { entries } = value;
    const place = entries.indexOf(entry);
    const question = entry.role === "user" ? entry : entries.findLast((each, at) => at < place && each.role === "user");
    if (!question) return;
    const key = newId();
    const body = { username, ...optionsOf() };
    const ask = (/** @type {AbortSignal} */ signal) => regenerate(sessionId, Number(entry.id), body, key, signal);
    this.conversation.endWith(question.key);
    try {
      await this.conversation.answer(question.key, ask);
    } catch (error) {
      await this.conversation.sync();
      throw error;
    }
  }

  /** @param {number} messageId */
  async select(messageId) {
    await selectMessage(this.conversation.username, this.conversation.sessionId, messageId);
    await this.changed();
  }

  /** @param {Entry} entry */
  async remove(entry) {
    await deleteTurn(this.conversation.username, this.conversation.sessionId, Number(entry.id));
    await this.changed();
  }

  /** @param {Entry} entry */
  async fork(entry) {
    const { session_id } = await forkSession(this.conversation.username, this.conversation.sessionId, Number(entry.id));
    announce(session_id);
    go("chat", session_id);
  }

  /** Say what one thinks of a reply; the same again takes it back.
   * @param {Entry} entry @param {"like" | "dislike"} rating */
  async rate(entry, rating) {
    const { username, sessionId, opinions } = this.conversation;
    const id = Number(entry.id);
    const next = opinions.value.ratings.get(id) === rating ? null : rating;
    await rate(username, sessionId, id, next);
    const ratings = new Map(opinions.value.ratings);
    if (next) ratings.set(id, next);
    else ratings.delete(id);
    opinions.set({ ratings });
  }

  async changed() {
    await this.conversation.sync();
    announce(this.conversation.sessionId);
  }
}
