/** The entries of a conversation: stored messages, those on their way, and replies that are being made. */

/**
 * @typedef {{
 *   key: string, id: number | null, role: "user" | "assistant", parts: import("./reply.js").Part[], status: string,
 *   runId: string | null, createdAt: string | null, usage: any, reasoning: string, refs: any[],
 *   reply: import("./reply.js").Reply | null, stored: import("../api/types.js").StoredMessage | null,
 * }} Entry
 */

/** @param {import("../api/types.js").StoredMessage} message @param {string} key @returns {Entry} */
export function entryOf(message, key) {
  return {
    key,
    id: message.id,
    role: message.role,
    parts: /** @type {any} */ (message.parts),
    status: message.status,
    runId: message.run_id,
    createdAt: message.created_at,
    usage: message.token_usage,
    reasoning: message.reasoning ?? "",
    refs: message.refs ?? [],
    reply: null,
    stored: message,
  };
}

/** A message that is on its way to the server.
 * @param {string} key @param {import("./reply.js").Part[]} parts @returns {Entry} */
export function sentEntry(key, parts) {
  return blank({ key, role: "user", parts, status: "sending" });
}

/** @param {import("./reply.js").Reply} reply @returns {Entry} */
export function replyEntry(reply) {
  return blank({ key: keyOfReply(reply.runId), role: "assistant", status: "live", runId: reply.runId, reply });
}

/** @param {string} runId */
export function keyOfReply(runId) {
  return `run:${runId}`;
}

/** @param {Partial<Entry> & Pick<Entry, "key" | "role">} members @returns {Entry} */
function blank(members) {
  return {
    id: null,
    parts: [],
    status: "",
    runId: null,
    createdAt: null,
    usage: null,
    reasoning: "",
    refs: [],
    reply: null,
    stored: null,
    ...members,
  };
}

/** The entries with what the newest page brings: older ones stay, and so do those that are not stored yet.
 * The keys stay too, so that nothing on the page is drawn anew.
 * @param {Entry[]} entries @param {import("../api/types.js").StoredMessage[]} page the newest first @param {boolean} hasMore
 * @returns {Entry[]} */
export function merged(entries, page, hasMore) {
  const known = new Map(entries.filter((entry) => entry.id !== null).map((entry) => [entry.id, entry]));
  const fresh = page.toReversed().map((message) => {
    const entry = known.get(message.id);
    const isSame = entry?.stored && JSON.stringify(entry.stored) === JSON.stringify(message);
    return isSame ? entry : entryOf(message, entry?.key ?? keyOf(message));
  });
  const oldest = page.length ? page[page.length - 1].id : 0;
  const older = hasMore ? entries.filter((entry) => entry.id !== null && entry.id < oldest) : [];
  const runs = new Set(fresh.filter((entry) => entry.role === "assistant").map((entry) => entry.runId));
  const waiting = entries.filter((entry) => entry.id === null && !(entry.reply && runs.has(entry.runId)));
  return placed([...older, ...fresh], waiting);
}

/** @param {import("../api/types.js").StoredMessage} message */
function keyOf(message) {
  return message.role === "assistant" && message.run_id ? keyOfReply(message.run_id) : `message:${message.id}`;
}

/** Put each reply behind its question, and all else at the end.
 * @param {Entry[]} stored @param {Entry[]} waiting */
function placed(stored, waiting) {
  const entries = [...stored];
  for (const entry of waiting) {
    const question = entries.findLastIndex((each) => each.role === "user" && each.runId === entry.runId);
    if (entry.reply && question >= 0) entries.splice(question + 1, 0, entry);
    else entries.push(entry);
  }
  return entries;
}
