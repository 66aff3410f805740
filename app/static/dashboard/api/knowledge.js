/** Collections, their documents, and searches in them. */

import { request, upload } from "./http.js";

const COLLECTIONS = "api/v1/knowledge/collections";

/** @param {string} collectionId @param {string[]} rest */
const pathOf = (collectionId, ...rest) => [COLLECTIONS, ...[collectionId, ...rest].map(encodeURIComponent)].join("/");

/** @returns {Promise<import("./types.js").Collection[]>} */
export async function listCollections() {
  return (await request("GET", COLLECTIONS, { query: { page_size: 100 } })).collections;
}

/** @param {Record<string, unknown>} body @returns {Promise<import("./types.js").Collection>} */
export function createCollection(body) {
  return request("POST", COLLECTIONS, { body });
}

/** @param {string} collectionId @param {Record<string, unknown>} changes */
export function changeCollection(collectionId, changes) {
  return request("PATCH", pathOf(collectionId), { body: changes });
}

/** @param {string} collectionId */
export function deleteCollection(collectionId) {
  return request("DELETE", pathOf(collectionId));
}

/** @param {string} collectionId @param {AbortSignal} [signal] @returns {Promise<import("./types.js").Collection>} */
export function getCollection(collectionId, signal) {
  return request("GET", pathOf(collectionId), { signal });
}

/** @param {string} collectionId @param {number} page @param {AbortSignal} [signal]
 * @returns {Promise<{ documents: import("./types.js").Document[], total: number }>} */
export function listDocuments(collectionId, page, signal) {
  return request("GET", pathOf(collectionId, "documents"), { query: { page, page_size: 50 }, signal });
}

/** @param {string} collectionId @param {File} file @param {(share: number) => void} onProgress */
export function addDocument(collectionId, file, onProgress) {
  const form = new FormData();
  form.append("file", file, file.name);
  return upload(pathOf(collectionId, "documents"), form, { onProgress });
}

/** @param {string} collectionId @param {string} documentId */
export function deleteDocument(collectionId, documentId) {
  return request("DELETE", pathOf(collectionId, "documents", documentId));
}

/** @param {string} collectionId @param {string} query
 * @returns {Promise<{ passages: import("./types.js").Passage[] }>} */
export function searchCollection(collectionId, query) {
  return request("POST", pathOf(collectionId, "search"), { body: { query, limit: 8 } });
}
