/** The knowledge base: collections, and the documents of the one that is open. */

import { account } from "../account.js";
import { createCollection, deleteCollection, listCollections } from "../api/knowledge.js";
import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { Form, SelectField, TextField } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge } from "../components/table.js";
import { number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { addressOf, go } from "../lib/router.js";
import { html, useState } from "../lib/view.js";
import { CollectionPage } from "./collection.js";

/** @typedef {import("../api/types.js").Collection} Collection */

/** @param {{ rest: string }} props the open collection's id */
export default function Knowledge({ rest }) {
  return rest ? html`<${CollectionPage} key=${rest} collectionId=${rest} />` : html`<${Collections} />`;
}

function Collections() {
  const collections = useResource(listCollections, []);
  const [isCreating, setCreating] = useState(false);
  const [deleted, setDeleted] = useState(/** @type {Collection | null} */ (null));
  const create = html`<${Button} kind="main" icon="plus" onClick=${() => setCreating(true)}>${t("knowledge.create")}<//>`;
  return html`<${Page} title=${t("area.knowledge")} intro=${t("knowledge.intro")} actions=${create}>
    <${Loaded} resource=${collections}>
      ${(/** @type {Collection[]} */ list) =>
        list.length === 0
          ? html`<${Empty} icon="book" title=${t("knowledge.none")} action=${create}>${t("knowledge.noneText")}<//>`
          : html`<ul class="cards">
              ${list.map((collection) => html`<${CollectionCard} key=${collection.collection_id} collection=${collection} onDelete=${() => setDeleted(collection)} />`)}
            </ul>`}
    <//>
    ${isCreating && html`<${CreateDialog} onClose=${() => setCreating(false)} />`}
    ${deleted &&
    html`<${Confirm} title=${t("knowledge.delete")} text=${t("knowledge.deleteText", { name: deleted.name })} action=${t("action.delete")}
      onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteCollection(deleted.collection_id);
        await collections.reload();
      }} />`}
  <//>`;
}

/** @param {{ collection: Collection, onDelete: () => void }} props */
function CollectionCard({ collection, onDelete }) {
  return html`<li class="card">
    <div class="section-header row">
      <h2><a href=${addressOf("knowledge", collection.collection_id)} dir="auto">${collection.name}</a></h2>
      ${collection.owner ? html`<${Badge}><bdi>${collection.owner}</bdi><//>` : html`<${Badge} tone="good">${t("knowledge.shared")}<//>`}
    </div>
    <p class="hint" dir="auto">${collection.description}</p>
    <div class="row card-end">
      <span class="hint">${t("knowledge.counts", { documents: number(collection.document_count), passages: number(collection.passage_count) })}</span>
      <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${collection.name}`} onClick=${onDelete} />
    </div>
  </li>`;
}

/** @param {{ onClose: () => void }} props */
function CreateDialog({ onClose }) {
  const { me, username } = account.value;
  /** @param {FormData} fields */
  const create = async (fields) => {
    const collection = await createCollection({
      name: fields.get("name"),
      description: fields.get("description"),
      owner: fields.get("owner") || undefined,
    });
    go("knowledge", collection.collection_id);
  };
  return html`<${Dialog} title=${t("knowledge.create")} onClose=${onClose}>
    <${Form} action=${t("action.create")} onSubmit=${create} onCancel=${onClose}>
      <${TextField} label=${t("knowledge.name")} name="name" required maxlength="100" autofocus />
      <${TextField} label=${t("knowledge.description")} name="description" maxlength="500" />
      ${me?.username === null &&
      html`<${SelectField} label=${t("knowledge.owner")} name="owner" options=${[
        { value: "", label: t("knowledge.shared") },
        { value: username, label: username },
      ]} />`}
    <//>
  <//>`;
}
