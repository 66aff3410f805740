/** Settings by their JSON Schema: the fields of a form, and the values that are written into it. */

/**
 * @typedef {{ type?: string, enum?: string[], anyOf?: Schema[], items?: Schema, properties?: Record<string, Schema>, required?: string[],
 *   default?: any, description?: string, maxLength?: number, minimum?: number, maximum?: number }} Schema
 * @typedef {{ name: string, kind: "text" | "secret" | "number" | "boolean" | "choice" | "list" | "json", isRequired: boolean, preset: any,
 *   description: string, options: string[], maxLength: number | undefined, step: string }} Field
 */

/** @param {Schema} schema @param {string[]} secretFields @returns {Field[]} the required ones first */
export function fieldsOf(schema, secretFields) {
  const required = schema.required ?? [];
  const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const inner = property.anyOf?.find((each) => each.type !== "null") ?? property;
    return {
      name,
      kind: secretFields.includes(name) ? "secret" : kindOf(inner),
      isRequired: required.includes(name),
      preset: property.default,
      description: property.description ?? inner.description ?? "",
      options: inner.enum ?? [],
      maxLength: inner.maxLength,
      step: inner.type === "integer" ? "1" : "any",
    };
  });
  return /** @type {Field[]} */ (fields.sort((one, other) => Number(other.isRequired) - Number(one.isRequired)));
}

/** @param {Schema} schema @returns {Field["kind"]} */
function kindOf(schema) {
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "number" || schema.type === "integer") return "number";
  if (schema.type === "array" && schema.items?.type === "string") return "list";
  return schema.type === "string" ? "text" : "json";
}

/** What a form's fields say that `current` does not: null where one was emptied, nothing of secrets that were left empty.
 * @param {Field[]} fields @param {FormData} form @param {Record<string, any>} current what is stored, or the presets
 * @returns {Record<string, any>} */
export function changesIn(fields, form, current) {
  /** @type {Record<string, any>} */
  const changes = {};
  for (const field of fields) {
    const value = valueOf(field, form);
    if (value === null && field.kind === "secret") continue;
    const before = current[field.name] ?? field.preset ?? null;
    if (JSON.stringify(value) !== JSON.stringify(before)) changes[field.name] = value;
  }
  return changes;
}

/** @param {Field} field @param {FormData} form */
function valueOf({ name, kind }, form) {
  if (kind === "boolean") return form.has(name);
  const text = String(form.get(name) ?? "").trim();
  if (kind === "list") return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (text === "") return null;
  if (kind === "number") return Number(text);
  return kind === "json" ? JSON.parse(text) : text;
}

/** The field that a refusal is about, as its message says: "`$.url`", "field `url`", or "url must be".
 * @param {string} message @param {string[]} names */
export function namedField(message, names) {
  const patterns = [/`\$\.(\w+)/, /field `(\w+)`/, /^(?:config: )?(\w+)\b/];
  return patterns.map((pattern) => pattern.exec(message)?.[1]).find((name) => name && names.includes(name)) ?? null;
}

/** A setting's name for people: "telegram_token" is "Telegram token".
 * @param {string} name */
export function wordsOf(name) {
  const words = name.replaceAll("_", " ").replace(/\b(url|id|uuid|api|qq|ws|aes)\b/gi, (word) => word.toUpperCase());
  return words[0].toUpperCase() + words.slice(1);
}
