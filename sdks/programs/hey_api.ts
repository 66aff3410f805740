// The client that @hey-api/openapi-ts makes.
import { client } from "./hey-api/client.gen";
import { getFile, getRun, listSessions, sendChatMessage, uploadFile } from "./hey-api/sdk.gen";

client.setConfig({ baseUrl: process.env.PALAVER_URL!, auth: process.env.PALAVER_KEY! });

const { stream } = await sendChatMessage({
  body: { username: "alice", message: "Hello", session_id: "hey-api" },
  // Without this, a stream that is cut is asked for again: send an Idempotency-Key if you want that.
  sseMaxRetryAttempts: 1,
});
let text = "";
const kinds: string[] = [];
for await (const event of stream) {
  kinds.push(event.type);
  if (event.type === "plain") text += event.data;
}
if (kinds[0] !== "session_id" || kinds.at(-1) !== "end" || text === "") throw new Error(kinds.join());
console.log("chat", kinds.length);

const sessions = await listSessions({ query: { username: "alice", page: 1, page_size: 1 } });
if (sessions.data?.data.sessions.length !== 1) throw new Error(JSON.stringify(sessions.error));
console.log("sessions", sessions.data.data.total);

const uploaded = await uploadFile({ body: { file: new Blob(["Hello, file"]) } });
const attachment_id = uploaded.data!.data.attachment_id;
// Else a text is parsed by its content type.
const file = await getFile({ query: { attachment_id }, parseAs: "blob" });
if ((await (file.data as Blob).text()) !== "Hello, file") throw new Error("file");
console.log("file", uploaded.data!.data.type);

const run = await getRun({ path: { run_id: "nowhere" } });
if (run.error === undefined) throw new Error("no error");
console.log("error", run.error.code);
