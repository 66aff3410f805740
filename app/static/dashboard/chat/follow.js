/** Following a run to its end, through cuts of the network and restarts of the server. */

import { getRun, streamRun } from "../api/chat.js";
import { ApiError, eventsOf } from "../api/http.js";

const LONGEST_PAUSE = 5000;

/** Read the run's events from beyond the reply's last one, until it is over.
 * Throws ApiError when Palaver refuses, DOMException when `signal` ends it.
 * @param {import("./reply.js").Reply} reply @param {AbortSignal} signal @param {AsyncIterable<{ id: number, data: any }>} [first] events that come already */
export async function follow(reply, signal, first) {
  let events = first;
  for (let attempt = 0; ; attempt++) {
    try {
      const before = reply.lastEventId;
      events ??= eventsOf(await streamRun(reply.runId, reply.lastEventId, signal));
      for await (const { id, data } of events) {
        reply.apply(id, data);
        if (data.type === "end") return;
      }
      if (await isOver(reply)) return;
      if (reply.lastEventId > before) attempt = 0;
    } catch (error) {
      if (!(error instanceof ApiError) || !isPassing(error)) throw error;
    }
    events = undefined;
    reply.put({ isCut: true });
    await pause(attempt, signal);
  }
}

/** @param {import("./reply.js").Reply} reply */
async function isOver(reply) {
  const run = await getRun(reply.runId);
  return !["queued", "running", "requires_action"].includes(run.status);
}

/** Whether the same request may succeed later: the network was away, or the server starts again.
 * @param {ApiError} error */
export function isPassing(error) {
  return error.isNetwork || error.status === 429 || error.status >= 500;
}

/** Wait before the next attempt; coming back online ends it.
 * @param {number} attempt @param {AbortSignal} signal */
export function pause(attempt, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(end, Math.min(200 * 2 ** attempt, LONGEST_PAUSE));
    function end() {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal.removeEventListener("abort", end);
      if (signal.aborted) reject(signal.reason);
      else resolve(undefined);
    }
    addEventListener("online", end);
    signal.addEventListener("abort", end);
  });
}
