// The types that openapi-typescript makes, with openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi-typescript";

type ChatEvent = components["schemas"]["ChatEvent"];

const client = createClient<paths>({
  baseUrl: process.env.PALAVER_URL!,
  headers: { "X-API-Key": process.env.PALAVER_KEY! },
});

const chat = await client.POST("/api/v1/chat", {
  body: { username: "alice", message: "Hello", session_id: "openapi-fetch", enable_streaming: true },
  parseAs: "stream",
});
if (chat.error) throw new Error(chat.error.message);
const events: ChatEvent[] = [];
const reader = (chat.data as ReadableStream<Uint8Array>).getReader();
const decoder = new TextDecoder();
let rest = "";
for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
  const lines = (rest + decoder.decode(piece.value, { stream: true })).split("\n");
  rest = lines.pop()!;
  for (const line of lines) if (line.startsWith("data: ")) events.push(JSON.parse(line.slice(6)));
}
let text = "";
for (const event of events) if (event.type === "plain") text += event.data;
if (events[0].type !== "session_id" || events.at(-1)!.type !== "end" || text === "") throw new Error(text);
console.log("chat", events.length);

const query = { username: "alice", page: 1, page_size: 1 };
const sessions = await client.GET("/api/v1/chat/sessions", { params: { query } });
if (sessions.data?.data.sessions.length !== 1) throw new Error(JSON.stringify(sessions.error));
console.log("sessions", sessions.data.data.total);

const uploaded = await client.POST("/api/v1/file", {
  body: { file: "" },
  bodySerializer: () => {
    const form = new FormData();
    form.append("file", new Blob(["Hello, file"]), "notes.txt");
    return form;
  },
});
const attachment_id = uploaded.data!.data.attachment_id;
const file = await client.GET("/api/v1/file", { params: { query: { attachment_id } }, parseAs: "text" });
if ((file.data as string) !== "Hello, file") throw new Error("file");
console.log("file", uploaded.data!.data.type);

const run = await client.GET("/api/v1/chat/runs/{run_id}", { params: { path: { run_id: "nowhere" } } });
if (run.error === undefined) throw new Error("no error");
console.log("error", run.error.code);
