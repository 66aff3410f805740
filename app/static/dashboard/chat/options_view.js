/** How the next replies are made: profile, model, role, documents, tools. */

import { may } from "../account.js";
import { listModels } from "../api/chat.js";
import { request } from "../api/http.js";
import { listTools } from "../api/manage.js";
import { Loaded } from "../components/notice.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { Store, useStore } from "../lib/store.js";
import { html } from "../lib/view.js";

/** `tools` counts when `tools_use` is "some". */
const NONE = { config_id: "", selected_model: "", role: "", knowledge: "", tools_use: "", tools: /** @type {string[]} */ ([]) };

/** Empty: as the session and its profile say. @type {Store<typeof NONE>} */
const chosen = new Store(NONE);

/** The options as the request names them. @returns {Record<string, unknown>} */
export function optionsOf() {
  const { knowledge, tools_use, tools, ...names } = chosen.value;
  /** @type {Record<string, unknown>} */
  const options = Object.fromEntries(Object.entries(names).filter(([, value]) => value !== ""));
  if (knowledge) options.knowledge = knowledge === "all" ? true : knowledge === "none" ? false : [knowledge];
  if (tools_use) options.tools_use = tools_use === "some" && tools.length > 0 ? tools : false;
  return options;
}

async function load() {
  const [configs, models, roles, collections] = await Promise.all([
    may("config") ? request("GET", "api/v1/configs") : { configs: [] },
    listModels(),
    request("GET", "api/kernel2/roles"),
    may("knowledge") ? request("GET", "api/v1/knowledge/collections", { query: { page_size: 100 } }) : { collections: [] },
  ]);
  return {
    configs: configs.configs.map((/** @type {any} */ each) => ({ value: each.id, label: each.name })),
    models: models.filter((each) => each.owned_by !== "palaver").map(({ id }) => ({ value: id, label: id })),
    roles: roles.map((/** @type {any} */ each) => ({ value: each.uuid, label: each.name })),
    collections: collections.collections.map((/** @type {any} */ each) => ({ value: each.collection_id, label: each.name })),
  };
}

/** @param {{ sessionConfig: string | null }} props the profile that the session has */
export function OptionsView({ sessionConfig }) {
  const value = useStore(chosen);
  const { data } = useResource(load, []);
  const asProfile = { value: "", label: t("option.asProfile") };
  return html`<fieldset class="options">
    <legend class="hidden">${t("chat.options")}</legend>
    <${Choice} label=${t("option.profile")} value=${value.config_id} options=${[{ value: "", label: t("option.asSession") }, ...(data?.configs ?? [])]} onChoose=${(/** @type {string} */ config_id) => chosen.set({ config_id })} />
    <${Choice} label=${t("option.model")} value=${value.selected_model} options=${[asProfile, ...(data?.models ?? [])]} onChoose=${(/** @type {string} */ selected_model) => chosen.set({ selected_model })} />
    <${Choice} label=${t("option.role")} value=${value.role} options=${[asProfile, ...(data?.roles ?? [])]} onChoose=${(/** @type {string} */ role) => chosen.set({ role })} />
    <${Choice} label=${t("option.knowledge")} value=${value.knowledge} options=${[asProfile, { value: "all", label: t("option.allCollections") }, { value: "none", label: t("option.none") }, ...(data?.collections ?? [])]} onChoose=${(/** @type {string} */ knowledge) => chosen.set({ knowledge })} />
    <${Choice} label=${t("option.tools")} value=${value.tools_use} options=${[asProfile, { value: "some", label: t("option.someTools") }, { value: "none", label: t("option.none") }]} onChoose=${(/** @type {string} */ tools_use) => chosen.set({ tools_use })} />
    ${value.tools_use === "some" && html`<${ToolChoice} configId=${value.config_id || sessionConfig || "default"} chosen=${value.tools} />`}
  </fieldset>`;
}

/** The tools that the profile admits, to choose from.
 * @param {{ configId: string, chosen: string[] }} props */
function ToolChoice({ configId, chosen: names }) {
  const tools = useResource(() => listTools(configId), [configId]);
  /** @param {string} name @param {boolean} isOn */
  const choose = (name, isOn) => chosen.set({ tools: isOn ? [...names, name] : names.filter((each) => each !== name) });
  return html`<fieldset class="tool-choice">
    <legend class="hidden">${t("option.tools")}</legend>
    <${Loaded} resource=${tools}>
      ${(/** @type {Awaited<ReturnType<typeof listTools>>} */ list) =>
        list.length === 0
          ? html`<p class="hint">${t("option.noTools")}</p>`
          : list.map(
              (tool) => html`<label key=${tool.name} class="chip" title=${tool.description}>
                <input type="checkbox" checked=${names.includes(tool.name)} onChange=${(/** @type {any} */ event) => choose(tool.name, event.target.checked)} /><bdi>${tool.name}</bdi>
              </label>`,
            )}
    <//>
  </fieldset>`;
}

/** @param {{ label: string, value: string, options: { value: string, label: string }[], onChoose: (value: string) => void }} props */
function Choice({ label, value, options, onChoose }) {
  return html`<label
    ><span>${label}</span>
    <select onChange=${(/** @type {any} */ event) => onChoose(event.target.value)}>
      ${options.map((each) => html`<option value=${each.value} selected=${each.value === value}>${each.label}</option>`)}
    </select>
  </label>`;
}
