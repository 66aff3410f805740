/** Keys, profiles, bots, tools, roles and the log of changes. */

import { request, respond } from "./http.js";

/** @param {string[]} parts */
const path = (...parts) => ["api/v1", ...parts.map(encodeURIComponent)].join("/");

/** @returns {Promise<import("./types.js").ApiKey[]>} */
export async function listKeys() {
  return (await request("GET", path("api-keys"))).api_keys;
}

/** @param {Record<string, unknown>} body @returns {Promise<import("./types.js").NewApiKey>} */
export function createKey(body) {
  return request("POST", path("api-keys"), { body });
}

/** @param {string} keyId @param {number} overlapSeconds @returns {Promise<import("./types.js").NewApiKey>} */
export function rotateKey(keyId, overlapSeconds) {
  return request("POST", path("api-keys", keyId, "rotate"), { body: { overlap_seconds: overlapSeconds } });
}

/** @param {string} keyId @param {Record<string, unknown>} changes @returns {Promise<import("./types.js").ApiKey>} */
export function changeKey(keyId, changes) {
  return request("PATCH", path("api-keys", keyId), { body: changes });
}

/** @param {string} keyId */
export function revokeKey(keyId) {
  return request("POST", path("api-keys", keyId, "revoke"));
}

/** @param {string} keyId */
export function deleteKey(keyId) {
  return request("DELETE", path("api-keys", keyId));
}

/** @param {string | null} cursor
 * @returns {Promise<{ entries: import("./types.js").AuditEntry[], next_cursor: string | null }>} */
export function listAudit(cursor) {
  return request("GET", path("audit"), { query: { cursor, limit: 50 } });
}

/** @returns {Promise<import("./types.js").Config[]>} */
export async function listConfigs() {
  return (await request("GET", path("configs"))).configs;
}

/** @returns {Promise<Profile[]>} */
export async function listProfiles() {
  return (await request("GET", path("config-profiles"))).profiles;
}

/** @typedef {import("./types.js").Schemas["ConfigProfile"]} Profile */

/** A profile, and the version of its file that it was read from.
 * @param {string} id @returns {Promise<{ profile: Profile, version: string }>} */
export async function getProfile(id) {
  const response = await respond("GET", path("config-profiles", id));
  return { profile: (await response.json()).data, version: response.headers.get("ETag") ?? "*" };
}

/** @param {string} id @param {Record<string, unknown>} settings @returns {Promise<Profile>} */
export function createProfile(id, settings) {
  return request("POST", path("config-profiles"), { body: { id, ...settings } });
}

/** Replace a profile's settings, unless its file was changed since `version` was read.
 * @param {string} id @param {Record<string, unknown>} settings @param {string} version @returns {Promise<Profile>} */
export function replaceProfile(id, settings, version) {
  return request("PUT", path("config-profiles", id), { body: settings, headers: { "If-Match": version } });
}

/** @param {string} id */
export function deleteProfile(id) {
  return request("DELETE", path("config-profiles", id), { headers: { "If-Match": "*" } });
}

/** @param {string} id @param {Record<string, unknown>} settings @returns {Promise<{ valid: boolean, problems: string[] }>} */
export function validateProfile(id, settings) {
  return request("POST", path("config-profiles", id, "validate"), { body: settings });
}

/** The tools there are, or those that a profile admits.
 * @param {string} [configId] @returns {Promise<{ name: string, description: string, server: string | null, parameters: object }[]>} */
export async function listTools(configId) {
  return (await request("GET", path("tools"), { query: { config_id: configId } })).tools;
}

/** @returns {Promise<import("./types.js").McpServer[]>} */
export async function listMcpServers() {
  return (await request("GET", path("mcp", "servers"))).servers;
}

/** @param {string} name @param {Record<string, unknown>} body @returns {Promise<import("./types.js").McpServer>} */
export function putMcpServer(name, body) {
  return request("PUT", path("mcp", "servers", name), { body });
}

/** @param {string} name */
export function deleteMcpServer(name) {
  return request("DELETE", path("mcp", "servers", name));
}

/** @param {string} name @returns {Promise<import("./types.js").McpServer>} */
export function testMcpServer(name) {
  return request("POST", path("mcp", "servers", name, "test"));
}

/** @returns {Promise<import("./types.js").Bot[]>} */
export async function listBots() {
  return (await request("GET", path("bots"))).bots;
}

/** A kind of bots, and the JSON Schema of its settings.
 * @typedef {{ name: string, schema: import("../lib/settings_schema.js").Schema, secret_fields: string[] }} BotKind */

/** @returns {Promise<BotKind[]>} */
export async function listBotKinds() {
  return (await request("GET", path("im", "adapters"))).adapters;
}

/** @param {Record<string, unknown>} body @returns {Promise<import("./types.js").Bot & { generated_secrets: Record<string, string> }>} */
export function createBot(body) {
  return request("POST", path("bots"), { body });
}

/** @param {string} botId @param {Record<string, unknown>} changes
 * @returns {Promise<import("./types.js").Bot & { generated_secrets: Record<string, string> }>} */
export function changeBot(botId, changes) {
  return request("PATCH", path("bots", botId), { body: changes });
}

/** @param {string} botId */
export function deleteBot(botId) {
  return request("DELETE", path("bots", botId));
}

/** @param {string} botId @returns {Promise<import("./types.js").Bot>} */
export function getBot(botId) {
  return request("GET", path("bots", botId));
}

/** Ask the platform who the bot is.
 * @param {string} botId @returns {Promise<{ id: string, name: string }>} */
export function testBot(botId) {
  return request("POST", path("bots", botId, "test"));
}

/** @param {string} botId
 * @returns {Promise<{ code: string, sender_id: string, sender_name: string, approved: boolean | null, created_at: string }[]>} */
export async function listPairings(botId) {
  return (await request("GET", path("bots", botId, "pairings"))).pairings;
}

/** @param {string} botId @param {string} code @param {boolean} approve */
export function decidePairing(botId, code, approve) {
  return request("POST", path("bots", botId, "pairings", code), { body: { approve } });
}

/** @param {{ bot_id?: string, state?: string, cursor?: string | null }} query
 * @returns {Promise<{ deliveries: import("./types.js").Schemas["DeliveryItem"][], next_cursor: string | null }>} */
export function listDeliveries(query) {
  return request("GET", path("im", "deliveries"), { query: { limit: 30, ...query } });
}

/** @param {string} deliveryId @param {"retry" | "cancel"} action */
export function changeDelivery(deliveryId, action) {
  return request("POST", path("im", "deliveries", deliveryId, action));
}

/** @typedef {import("./types.js").Schemas["ProviderItem"]} Provider */

/** @returns {Promise<Provider[]>} */
export async function listProviders() {
  return (await request("GET", path("providers"))).providers;
}

/** Add a model server, or replace the one with this id.
 * @param {string} id @param {Record<string, unknown>} settings @param {boolean} isNew @returns {Promise<Provider>} */
export function saveProvider(id, settings, isNew) {
  if (isNew) return request("POST", path("providers"), { body: { id, ...settings } });
  return request("PUT", path("providers", id), { body: settings });
}

/** @param {string} id */
export function deleteProvider(id) {
  return request("DELETE", path("providers", id));
}

/** Have the model server answer a request.
 * @param {string} id @returns {Promise<import("./types.js").Schemas["ProviderTestItem"]>} */
export function testProvider(id) {
  return request("POST", path("providers", id, "test"), { body: {} });
}

const ROLES = "api/kernel2/roles";

/** @returns {Promise<import("./types.js").Role[]>} */
export function listRoles() {
  return request("GET", ROLES);
}

/** Create a role, or change the one with this id.
 * @param {string | null} uuid @param {Record<string, unknown>} body @returns {Promise<import("./types.js").Role>} */
export function saveRole(uuid, body) {
  return uuid ? request("PUT", `${ROLES}/${uuid}`, { body }) : request("POST", ROLES, { body });
}

/** @param {string} uuid */
export function deleteRole(uuid) {
  return request("DELETE", `${ROLES}/${uuid}`);
}
