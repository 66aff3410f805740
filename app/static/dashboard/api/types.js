/** The API's types, made of openapi.json when the types are checked; there is nothing here to run. */

/** @typedef {import("palaver-api").components["schemas"]} Schemas */

/** @typedef {Schemas["ChatSessionItem"]} Session */
/** @typedef {Schemas["ChatMessage"]} StoredMessage */
/** @typedef {Schemas["ChatRun"]} Run */
/** @typedef {Schemas["RunApproval"]} Approval */
/** @typedef {Schemas["ApiKeyItem"]} ApiKey */
/** @typedef {Schemas["NewApiKey"]} NewApiKey */
/** @typedef {Schemas["AuditItem"]} AuditEntry */
/** @typedef {Schemas["CollectionItem"]} Collection */
/** @typedef {Schemas["DocumentItem"]} Document */
/** @typedef {Schemas["McpServerItem"]} McpServer */
/** @typedef {Schemas["BotItem"]} Bot */
/** @typedef {Schemas["ChatConfigFile"]} Config */
/** @typedef {Schemas["RoleItem"]} Role */
/** @typedef {Schemas["FoundPassage"]} Passage */

export {};
