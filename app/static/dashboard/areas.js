/** The areas of the dashboard: who sees them, and the module that draws each, loaded when it is first opened. */

/**
 * @typedef {{
 *   id: string,
 *   title: import("./lib/i18n.js").Key,
 *   icon: import("./components/icon.js").IconName,
 *   scope: string | null,
 *   group: "use" | "content" | "manage",
 *   load: () => Promise<{ default: (props: any) => any }>,
 * }} Area
 */

/** @type {Area[]} */
export const AREAS = [
  { id: "chat", title: "area.chat", icon: "chat", scope: "chat", group: "use", load: () => import("./chat/chat_page.js") },
  { id: "overview", title: "area.overview", icon: "overview", scope: null, group: "use", load: () => import("./areas/overview.js") },
  { id: "knowledge", title: "area.knowledge", icon: "book", scope: "knowledge", group: "content", load: () => import("./areas/knowledge.js") },
  { id: "files", title: "area.files", icon: "file", scope: "file", group: "content", load: () => import("./areas/files.js") },
  { id: "roles", title: "area.roles", icon: "role", scope: "chat", group: "content", load: () => import("./areas/roles.js") },
  { id: "tools", title: "area.tools", icon: "tool", scope: "chat", group: "content", load: () => import("./areas/tools.js") },
  { id: "bots", title: "area.bots", icon: "bot", scope: "im", group: "manage", load: () => import("./areas/bots.js") },
  { id: "keys", title: "area.keys", icon: "key", scope: "admin", group: "manage", load: () => import("./areas/keys.js") },
  { id: "profiles", title: "area.profiles", icon: "profile", scope: "config", group: "manage", load: () => import("./areas/profiles.js") },
  { id: "providers", title: "area.providers", icon: "server", scope: "admin", group: "manage", load: () => import("./areas/providers.js") },
  { id: "audit", title: "area.audit", icon: "log", scope: "admin", group: "manage", load: () => import("./areas/audit.js") },
  { id: "doctor", title: "area.doctor", icon: "pulse", scope: null, group: "manage", load: () => import("./areas/doctor.js") },
];

/** The areas that a caller with these scopes is shown.
 * @param {string[]} scopes */
export function areasFor(scopes) {
  return AREAS.filter((area) => area.scope === null || scopes.includes(area.scope));
}
