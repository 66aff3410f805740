/** Files: the list of them, one of them, and their content. */

import { request, urlOf } from "./http.js";

/** @typedef {import("./types.js").Schemas["AttachmentItem"]} FileItem */

const FILES = "api/v1/files";

/** @param {{ search?: string, type?: string, cursor?: string | null, signal?: AbortSignal }} options
 * @returns {Promise<{ files: FileItem[], next_cursor: string | null }>} */
export function listFiles({ signal, ...query }) {
  return request("GET", FILES, { query, signal });
}

/** @param {string} attachmentId @returns {Promise<FileItem>} */
export async function getFile(attachmentId) {
  return { username: null, ...(await request("GET", `${FILES}/${encodeURIComponent(attachmentId)}`)) };
}

/** @param {string} attachmentId */
export function deleteFile(attachmentId) {
  return request("DELETE", `${FILES}/${encodeURIComponent(attachmentId)}`);
}

/** The address of a file's content.
 * @param {string} attachmentId */
export function contentAddress(attachmentId) {
  return urlOf("api/v1/file", { attachment_id: attachmentId }).href;
}
