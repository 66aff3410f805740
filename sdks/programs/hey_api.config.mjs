export default {
  input: "../openapi.json",
  output: "hey-api",
  plugins: ["@hey-api/client-fetch", "@hey-api/sdk", "@hey-api/typescript"],
  parser: {
    patch: {
      operations: {
        // OpenAPI 3.1 has no word for the events of a stream: x-event-schema names them.
        "POST /api/v1/chat": (operation) => {
          const stream = operation.responses["200"].content["text/event-stream"];
          stream.schema = stream["x-event-schema"];
        },
      },
    },
  },
};
