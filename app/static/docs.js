"use strict";

// Shows openapi.json in Swagger UI. Addresses are relative, so that the page also works below a proxy's prefix.
(async () => {
  const answer = await fetch("openapi.json");
  const spec = await answer.json();
  // The content security policy lets this page speak to the server it came from, and to no other.
  spec.servers = [{ url: new URL(".", window.location.href).href.replace(/\/$/, "") }];
  window.SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    filter: true,
    persistAuthorization: true,
    validatorUrl: null,
  });
})();
