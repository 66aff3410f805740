"use strict";

// Shows openapi.json in Swagger UI, and beside it a console that shows the events of a chat as they come: Swagger UI
// shows an answer when it is over. Addresses are relative, so that the page also works below a proxy's prefix.

(async () => {
  const answer = await fetch("openapi.json");
  const spec = await answer.json();
  // The content security policy lets this page speak to the server it came from, and to no other.
  spec.servers = [{ url: new URL(".", window.location.href).href.replace(/\/$/, "") }];
  foldErrors(spec);
  linkEvents(spec);
  window.SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    defaultModelExpandDepth: 2,
    docExpansion: "list",
    filter: true,
    persistAuthorization: false,
    validatorUrl: null,
  });
})();

// Every operation of `spec` with its responses.
function* operations(spec) {
  for (const item of Object.values(spec.paths)) {
    for (const operation of Object.values(item)) {
      if (operation && operation.responses) yield operation;
    }
  }
}

// Fold the errors of each class, 4XX and 5XX, into one row that opens to a line for each status with its codes: the
// shape is the same for all, and told at the top of the page.
function foldErrors(spec) {
  for (const operation of operations(spec)) {
    const responses = operation.responses;
    const lines = {};
    for (const status of Object.keys(responses).filter((status) => status >= "400")) {
      const response = responses[status];
      const shared = response.$ref && spec.components.responses[response.$ref.split("/").pop()];
      const range = `${status[0]}XX`;
      (lines[range] ??= {})[status] = response.description || (shared && shared.description);
      delete responses[status];
    }
    for (const [range, texts] of Object.entries(lines)) {
      const summary = Object.keys(texts).join(", ");
      const list = Object.entries(texts).map(([status, text]) => `- ${status} ${text}`).join("\n");
      responses[range] = { description: `<details><summary>${summary}</summary>\n\n${list}\n\n</details>` };
    }
  }
}

// Show the schema of a stream's events, where the document can only say that the stream is text; and no header that
// every answer has.
function linkEvents(spec) {
  for (const operation of operations(spec)) {
    for (const response of Object.values(operation.responses)) {
      const stream = response.content && response.content["text/event-stream"];
      if (stream && stream["x-event-schema"]) stream.schema = stream["x-event-schema"];
      if (response.headers) delete response.headers["X-Request-ID"];
    }
  }
}

const consoleForm = document.getElementById("console");
const output = document.getElementById("events");
const stopButton = document.getElementById("stop");
let abort = null;

consoleForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new FormData(consoleForm);
  const body = { username: fields.get("username"), message: fields.get("message") };
  if (fields.get("session_id")) body.session_id = fields.get("session_id");
  output.replaceChildren();
  abort = new AbortController();
  stopButton.disabled = false;
  const start = performance.now();
  try {
    const response = await fetch("api/v1/chat", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": fields.get("key") },
      body: JSON.stringify(body),
      signal: abort.signal,
    });
    if (response.ok) await showStream(response.body, start);
    else showLine(response.status, await response.text(), start);
  } catch (error) {
    showLine("", error.name === "AbortError" ? "Stopped" : String(error), start);
  } finally {
    stopButton.disabled = true;
  }
});

stopButton.addEventListener("click", () => abort.abort());

async function showStream(stream, start) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const id = /^id: (.*)$/m.exec(frame);
      const data = /^data: (.*)$/m.exec(frame);
      if (data) showLine(id ? id[1] : "", data[1], start);
    }
  }
}

function showLine(id, text, start) {
  const row = document.createElement("tr");
  for (const cell of [`${Math.round(performance.now() - start)} ms`, id, text]) {
    row.insertCell().textContent = cell;
  }
  output.append(row);
  row.scrollIntoView({ block: "nearest" });
}
