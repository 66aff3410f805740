/** Chat: sessions, messages, and the runs that answer them. */

import { request, respond, upload, urlOf } from "./http.js";

const SESSIONS = "api/v1/chat/sessions";

/** @param {string} sessionId */
const sessionPath = (sessionId) => `${SESSIONS}/${encodeURIComponent(sessionId)}`;

/** @param {string} username
 * @param {{ page: number, search?: string, label?: string, pinned?: boolean, signal?: AbortSignal }} options
 * @returns {Promise<{ sessions: import("./types.js").Session[], total: number }>} */
export function listSessions(username, { signal, ...options }) {
  return request("GET", SESSIONS, { query: { username, page_size: 30, ...options }, signal });
}

/** Messages with these words, the best first.
 * @param {string} username @param {string} words @param {AbortSignal} signal
 * @returns {Promise<{ session_id: string, display_name: string | null, snippet: string, message: { id: number } }[]>} */
export async function searchMessages(username, words, signal) {
  return (await request("GET", "api/v1/chat/search", { query: { username, q: words, limit: 10 }, signal })).messages;
}

/** The address of a session's export.
 * @param {string} username @param {string} sessionId @param {"markdown" | "jsonl"} format */
export function exportAddress(username, sessionId, format) {
  return urlOf(`${sessionPath(sessionId)}/export`, { username, format }).href;
}

/** Say what one thinks of a reply; null takes it back.
 * @param {string} username @param {string} sessionId @param {number} messageId @param {"like" | "dislike" | null} rating */
export function rate(username, sessionId, messageId, rating) {
  return request("POST", messagePath(sessionId, messageId, "feedback"), { body: { username, rating } });
}

/** The ratings of a session's replies, by message.
 * @param {string} username @param {string} sessionId @returns {Promise<Map<number, string>>} */
export async function listRatings(username, sessionId) {
  const { feedback } = await request("GET", "api/v1/feedback", { query: { username, session_id: sessionId, limit: 100 } });
  return new Map(feedback.map((/** @type {any} */ each) => [each.message_id, each.rating]));
}

/** @param {string} username @param {string} sessionId @returns {Promise<import("./types.js").Session>} */
export function getSession(username, sessionId) {
  return request("GET", sessionPath(sessionId), { query: { username } });
}

/** @param {string} username @param {string} sessionId @param {Record<string, unknown>} changes
 * @returns {Promise<import("./types.js").Session>} */
export function changeSession(username, sessionId, changes) {
  return request("PATCH", sessionPath(sessionId), { body: { username, ...changes } });
}

/** @param {string} username @param {string} sessionId */
export function deleteSession(username, sessionId) {
  return request("DELETE", sessionPath(sessionId), { query: { username } });
}

/** Messages before the newest page are drawn while the reader scrolls: so many that a frame has room for them. */
const [PAGE, OLDER_PAGE] = [50, 24];

/** The newest messages, or those before one; the newest first.
 * @param {string} username @param {string} sessionId @param {{ before?: number, signal?: AbortSignal }} [options]
 * @returns {Promise<{ messages: import("./types.js").StoredMessage[], has_more: boolean }>} */
export function listMessages(username, sessionId, { before, signal } = {}) {
  return request("GET", `${sessionPath(sessionId)}/messages`, { query: { username, before, limit: before ? OLDER_PAGE : PAGE }, signal });
}

/** Send a message. A repeat with the same `key` sends nothing again, and goes on with the same reply.
 * @param {Record<string, unknown>} body @param {string} key @param {AbortSignal} signal */
export function sendMessage(body, key, signal) {
  return respond("POST", "api/v1/chat", { body, signal, headers: { "Idempotency-Key": key } });
}

/** @param {string} sessionId @param {number} messageId @param {string[]} rest */
const messagePath = (sessionId, messageId, ...rest) => [sessionPath(sessionId), "messages", messageId, ...rest].join("/");

/** Put another message beside one of the user's.
 * @param {string} username @param {string} sessionId @param {number} messageId @param {unknown[]} parts
 * @returns {Promise<{ message: import("./types.js").StoredMessage }>} */
export function editMessage(username, sessionId, messageId, parts) {
  const body = { username, content: { type: "user", message: parts } };
  return request("PATCH", messagePath(sessionId, messageId), { body });
}

/** Have a message answered once more.
 * @param {string} sessionId @param {number} messageId @param {Record<string, unknown>} body @param {string} key
 * @param {AbortSignal} signal */
export function regenerate(sessionId, messageId, body, key, signal) {
  return respond("POST", messagePath(sessionId, messageId, "regenerate"), { body, signal, headers: { "Idempotency-Key": key } });
}

/** Show the path through a message.
 * @param {string} username @param {string} sessionId @param {number} messageId */
export function selectMessage(username, sessionId, messageId) {
  return request("POST", messagePath(sessionId, messageId, "select"), { body: { username } });
}

/** @param {string} username @param {string} sessionId @param {number} messageId */
export function deleteTurn(username, sessionId, messageId) {
  return request("DELETE", messagePath(sessionId, messageId), { query: { username } });
}

/** @param {string} username @param {string} sessionId @param {number} messageId
 * @returns {Promise<import("./types.js").Session>} */
export function forkSession(username, sessionId, messageId) {
  return request("POST", `${sessionPath(sessionId)}/fork`, { body: { username, message_id: messageId } });
}

/** @param {string} runId @returns {Promise<import("./types.js").Run>} */
export function getRun(runId) {
  return request("GET", `api/v1/chat/runs/${runId}`);
}

/** The events of a run beyond `after`, as they come.
 * @param {string} runId @param {number} after @param {AbortSignal} signal */
export function streamRun(runId, after, signal) {
  return respond("GET", `api/v1/chat/runs/${runId}/stream`, { query: { after }, signal });
}

/** @param {string} username @param {string} sessionId */
export function stopSession(username, sessionId) {
  return request("POST", `${sessionPath(sessionId)}/stop`, { body: { username } });
}

/** @param {string} runId @returns {Promise<{ approvals: import("./types.js").Approval[] }>} */
export function listApprovals(runId) {
  return request("GET", `api/v1/chat/runs/${runId}/approvals`);
}

/** @param {string} runId @param {string} approvalId @param {boolean} approve */
export function decideApproval(runId, approvalId, approve) {
  return request("POST", `api/v1/chat/runs/${runId}/approvals`, { body: { approval_id: approvalId, approve } });
}

/** @typedef {import("./types.js").Schemas["ApprovalItem"]} ApprovalItem */

/** What waits for a yes or no: in the user's runs, or without a user in everyone's.
 * @param {string | undefined} username @param {AbortSignal} signal
 * @returns {Promise<{ approvals: ApprovalItem[], next_cursor: string | null }>} */
export function listWaitingApprovals(username, signal) {
  return request("GET", "api/v1/approvals", { query: { username, state: "waiting" }, signal });
}

/** The runs of a session that wait or go on.
 * @param {string} username @param {string} sessionId @param {AbortSignal} signal @returns {Promise<string[]>} */
export async function listActiveRuns(username, sessionId, signal) {
  const { active_runs } = await request("GET", sessionPath(sessionId), { query: { username, history: false }, signal });
  return active_runs.map((/** @type {any} */ run) => run.run_id);
}

/** @returns {Promise<{ id: string, owned_by: string }[]>} */
export async function listModels() {
  return request("GET", "v1/models");
}

/** @param {File} file @param {{ onProgress?: (share: number) => void, signal?: AbortSignal }} options
 * @returns {Promise<{ attachment_id: string, filename: string, type: "image" | "record" | "video" | "file" }>} */
export function uploadFile(file, options) {
  const form = new FormData();
  form.append("file", file, file.name || "pasted");
  return upload("api/v1/file", form, options);
}
