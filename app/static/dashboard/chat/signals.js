/** What the tabs of one browser tell each other. */

const channel = new BroadcastChannel("palaver");

/** @param {string} sessionId the session that has changed, or has a new run */
export function announce(sessionId) {
  channel.postMessage({ sessionId });
}

/** @param {(sessionId: string) => void} action @returns {() => void} what ends it */
export function hearChanges(action) {
  const hear = (/** @type {MessageEvent} */ event) => action(event.data.sessionId);
  channel.addEventListener("message", hear);
  return () => channel.removeEventListener("message", hear);
}
