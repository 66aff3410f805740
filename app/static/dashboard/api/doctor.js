/** Checks of the server, and of the way to it. */

import { ApiError, eventsOf, request, respond, urlOf } from "./http.js";

/** @typedef {"ok" | "warning" | "failed"} CheckState */
/** @typedef {{ name: string, state: CheckState, detail: string, milliseconds: number | null }} Check */

const BUFFERED_SHARE = 0.5;
const SOCKET_MILLISECONDS = 5000;

/** The server's own checks, and how far its clock is from this one, in seconds.
 * @returns {Promise<{ version: string, checks: Check[], clock: number }>} */
export async function askServer() {
  const before = Date.now();
  const { version, time, checks } = await request("GET", "api/v1/doctor");
  const server = new Date(time).getTime();
  const after = Date.now();
  // The answer was made somewhere between the two.
  const clock = server < before ? server - before : Math.max(server - after, 0);
  return { version, checks, clock: clock / 1000 };
}

/** Over how many milliseconds events were sent, over how many they arrived, and whether something collected them.
 * @returns {Promise<{ sent: number, arrived: number, isBuffered: boolean }>} */
export async function measureStream() {
  let [first, last, sent] = [0, 0, 0];
  for await (const { data } of eventsOf(await respond("GET", "api/v1/doctor/stream"))) {
    last = performance.now();
    first ||= last;
    sent = data.sent_ms;
  }
  if (!sent) throw new ApiError("No event arrived", { status: 0, code: "no_events", requestId: null });
  return { sent, arrived: last - first, isBuffered: last - first < sent * BUFFERED_SHARE };
}

/** How many milliseconds a WebSocket takes for a ping and its pong. Throws Error when it does not pass.
 * @returns {Promise<number>} */
export function measureSocket() {
  return new Promise((resolve, reject) => {
    const url = urlOf("api/v1/chat/ws");
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    let started = 0;
    const fail = () => reject(new Error("WebSocket"));
    const timer = setTimeout(() => socket.close(), SOCKET_MILLISECONDS);
    socket.onopen = () => {
      started = performance.now();
      socket.send(JSON.stringify({ t: "ping" }));
    };
    socket.onmessage = (event) => {
      if (JSON.parse(event.data).type === "pong") resolve(performance.now() - started);
      socket.close();
    };
    socket.onerror = fail;
    socket.onclose = () => {
      clearTimeout(timer);
      fail();
    };
  });
}
