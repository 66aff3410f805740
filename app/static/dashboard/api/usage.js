/** What replies used, and what goes on now. */

import { request, respond, urlOf } from "./http.js";

/** @typedef {import("./types.js").Schemas["UsageItem"]} UsageRow */

/** @param {{ from: string, to: string, groups: string[], signal?: AbortSignal }} query @returns {Promise<UsageRow[]>} */
export async function readUsage({ from, to, groups, signal }) {
  return (await request("GET", "api/v1/usage", { query: { from, to, group_by: groups.join(",") }, signal })).rows;
}

/** The address of the same as a table.
 * @param {string} from @param {string} to @param {string[]} groups */
export function usageTable(from, to, groups) {
  return urlOf("api/v1/usage", { from, to, group_by: groups.join(","), format: "csv" }).href;
}

/** Replies and streams that are open now, as the metrics say; null where they are not shown to this caller.
 * @returns {Promise<{ replies: number, streams: number, waiting: number } | null>} */
export async function readPresent() {
  try {
    const text = await (await respond("GET", "metrics")).text();
    const value = (/** @type {string} */ name) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? 0);
    return {
      replies: value("palaver_runs_active"),
      streams: value("palaver_open_streams"),
      waiting: value("palaver_run_queue_length"),
    };
  } catch {
    return null;
  }
}
