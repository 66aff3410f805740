/** One collection: its documents with their states, and a search to try. */

import { addDocument, deleteDocument, getCollection, listDocuments, searchCollection } from "../api/knowledge.js";
import { Button } from "../components/button.js";
import { DropZone } from "../components/drop_zone.js";
import { Empty, ErrorNotice, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Badge, Table } from "../components/table.js";
import { showError } from "../components/toasts.js";
import { number, size } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useRefreshing, useResource } from "../lib/resource.js";
import { addressOf } from "../lib/router.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").Document} Document */

const TONES = /** @type {Record<string, "good" | "bad" | "wait">} */ ({ ready: "good", failed: "bad" });

/** @param {{ collectionId: string }} props */
export function CollectionPage({ collectionId }) {
  const collection = useResource((signal) => getCollection(collectionId, signal), [collectionId]);
  return html`<${Page} title=${collection.data?.name ?? t("area.knowledge")} intro=${collection.data?.description}>
    <p><a href=${addressOf("knowledge")}>${t("knowledge.all")}</a></p>
    ${collection.error
      ? html`<${ErrorNotice} error=${collection.error} onRetry=${collection.reload} />`
      : html`<${SearchSection} collectionId=${collectionId} /><${DocumentsSection} collectionId=${collectionId} />`}
  <//>`;
}

/** @param {{ collectionId: string }} props */
function DocumentsSection({ collectionId }) {
  const [page, setPage] = useState(1);
  const documents = useResource((signal) => listDocuments(collectionId, page, signal), [collectionId, page]);
  const [uploads, setUploads] = useState(/** @type {Record<string, number>} */ ({}));
  const isWorking = documents.data?.documents.some(({ status }) => !(status in TONES));
  useRefreshing(() => isWorking && documents.reload(), 2, [isWorking, documents.reload]);

  /** @param {File[]} files */
  const add = async (files) => {
    for (const file of files) {
      try {
        await addDocument(collectionId, file, (share) => setUploads((all) => ({ ...all, [file.name]: share })));
      } catch (error) {
        showError(error);
      }
      setUploads(({ [file.name]: _, ...rest }) => rest);
      await documents.reload();
    }
  };
  return html`<section class="section">
    <h2>${t("knowledge.documents")}</h2>
    <${DropZone} label=${t("knowledge.add")} hint=${t("knowledge.addHint")} onFiles=${add} />
    ${Object.entries(uploads).map(
      ([name, share]) => html`<p class="upload"><bdi>${name}</bdi><progress max="1" value=${share} aria-label=${t("state.uploading")}></progress></p>`,
    )}
    <${Loaded} resource=${documents}>
      ${(/** @type {{ documents: Document[], total: number }} */ { documents: list, total }) =>
        list.length === 0
          ? html`<${Empty} icon="file" title=${t("knowledge.noDocuments")} />`
          : html`<${DocumentTable} documents=${list} onDelete=${async (/** @type {Document} */ document) => {
                await deleteDocument(collectionId, document.document_id);
                await documents.reload();
              }} />
              ${total > page * 50 && html`<p class="more"><${Button} onClick=${() => setPage(page + 1)}>${t("action.more")}<//></p>`}`}
    <//>
  </section>`;
}

/** @param {{ documents: Document[], onDelete: (document: Document) => Promise<void> }} props */
function DocumentTable({ documents, onDelete }) {
  /** @type {import("../components/table.js").Column<Document>[]} */
  const columns = [
    { title: t("knowledge.title"), isMain: true, cell: (document) => html`<span dir="auto">${document.title}</span>` },
    {
      title: t("knowledge.status"),
      cell: (document) => html`<span>
        <${Badge} tone=${TONES[document.status] ?? "wait"}>${t(/** @type {any} */ (`document.${document.status}`))}<//>
        ${document.error && html`<br /><span class="detail" dir="auto">${document.error}</span>`}
        ${document.notes.map((note) => html`<br /><span class="detail" dir="auto">${note}</span>`)}
      </span>`,
    },
    { title: t("knowledge.passages"), isNumber: true, cell: (document) => number(document.passage_count) },
    { title: t("file.size"), isNumber: true, cell: (document) => size(document.size) },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (document) => html`<${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${document.title}`} onClick=${() => onDelete(document)} />`,
    },
  ];
  return html`<${Table} label=${t("knowledge.documents")} columns=${columns} rows=${documents} keyOf=${(/** @type {Document} */ each) => each.document_id} />`;
}

/** @param {{ collectionId: string }} props */
function SearchSection({ collectionId }) {
  const [passages, setPassages] = useState(/** @type {import("../api/types.js").Passage[] | null} */ (null));
  const [query, setQuery] = useState("");
  /** @param {Event} event */
  const search = async (event) => {
    event.preventDefault();
    try {
      setPassages((await searchCollection(collectionId, query)).passages);
    } catch (error) {
      showError(error);
    }
  };
  return html`<section class="section">
    <h2>${t("knowledge.search")}</h2>
    <form class="search-line" role="search" onSubmit=${search}>
      <input type="search" required aria-label=${t("knowledge.search")} placeholder=${t("knowledge.searchHint")} dir="auto" value=${query} onInput=${(/** @type {any} */ event) => setQuery(event.target.value)} />
      <${Button} type="submit" icon="search">${t("action.search")}<//>
    </form>
    <div role="status">
      ${passages?.length === 0 && html`<p class="hint">${t("knowledge.noneFound")}</p>`}
      <ol class="passages">
        ${passages?.map(
          (passage) => html`<li class="card" key=${passage.document_id + passage.position}>
            <p class="title" dir="auto">${passage.title}${passage.heading ? ` · ${passage.heading}` : ""}</p>
            <p dir="auto">${passage.text}</p>
          </li>`,
        )}
      </ol>
    </div>
  </section>`;
}
