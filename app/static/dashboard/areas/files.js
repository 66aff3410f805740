/** Files: all of them, to upload, look at, find and delete. */

import { uploadFile } from "../api/chat.js";
import { deleteFile, getFile, listFiles } from "../api/files.js";
import { Button } from "../components/button.js";
import { Confirm } from "../components/dialog.js";
import { DropZone } from "../components/drop_zone.js";
import { Empty, Loaded } from "../components/notice.js";
import { Page } from "../components/page.js";
import { messageOf, showNote } from "../components/toasts.js";
import { t } from "../lib/i18n.js";
import { newId } from "../lib/ids.js";
import { usePages } from "../lib/pages.js";
import { html, useState } from "../lib/view.js";
import { FileTable } from "./file_table.js";

/** @typedef {import("../api/files.js").FileItem} FileItem */
/** @typedef {{ key: string, name: string, share: number, error: string }} Upload */

const KINDS = /** @type {const} */ (["image", "record", "video", "file"]);
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export default function Files() {
  const [search, setSearch] = useState("");
  const [type, setType] = useState("");
  const [deleted, setDeleted] = useState(/** @type {FileItem | null} */ (null));
  const pages = usePages((cursor, signal) => load(search.trim(), type, cursor, signal), [search, type]);
  const remove = async () => {
    if (!deleted) return;
    await deleteFile(deleted.attachment_id);
    await pages.first.reload();
    showNote(t("file.deleted"));
  };
  return html`<${Page} title=${t("area.files")} intro=${t("file.intro")}>
    <${Uploads} onDone=${pages.first.reload} />
    <div class="search-line" role="search">
      <input type="search" aria-label=${t("file.search")} placeholder=${t("file.search")} dir="auto" autocomplete="off" value=${search} onInput=${(/** @type {any} */ event) => setSearch(event.target.value)} />
      <select aria-label=${t("file.type")} onChange=${(/** @type {any} */ event) => setType(event.target.value)}>
        <option value="">${t("file.allTypes")}</option>
        ${KINDS.map((kind) => html`<option value=${kind} selected=${kind === type}>${t(`file.kind.${kind}`)}</option>`)}
      </select>
    </div>
    <${Loaded} resource=${pages.first}>
      ${() =>
        pages.items.length === 0
          ? html`<${Empty} icon="file" title=${t(search || type ? "file.noneFound" : "file.none")}>${!search && !type && t("file.noneText")}<//>`
          : html`<${FileTable} files=${pages.items} onDelete=${setDeleted} />`}
    <//>
    ${pages.more && html`<p class="more"><${Button} onClick=${pages.more}>${t("action.more")}<//></p>`}
    ${deleted &&
    html`<${Confirm} title=${t("file.delete")} text=${t("file.deleteText", { name: deleted.filename })} action=${t("action.delete")} onClose=${() => setDeleted(null)} onConfirm=${remove} />`}
  <//>`;
}

/** The files whose name has the text, or the one with that id.
 * @param {string} search @param {string} type @param {string | null} cursor @param {AbortSignal} [signal] */
async function load(search, type, cursor, signal) {
  if (ID.test(search)) {
    const file = await getFile(search).catch(() => null);
    return { items: file ? [file] : [], next: null };
  }
  const { files, next_cursor } = await listFiles({ search, type, cursor, signal });
  return { items: files, next: next_cursor };
}

/** Where files are dropped, and how far they have come.
 * @param {{ onDone: () => Promise<void> }} props */
function Uploads({ onDone }) {
  const [uploads, setUploads] = useState(/** @type {Upload[]} */ ([]));
  /** @param {string} key @param {Partial<Upload>} changes */
  const change = (key, changes) => setUploads((all) => all.map((each) => (each.key === key ? { ...each, ...changes } : each)));
  /** @param {string} key */
  const drop = (key) => setUploads((all) => all.filter((each) => each.key !== key));
  /** @param {File[]} chosen */
  const add = async (chosen) => {
    const added = chosen.map((file) => ({ file, upload: { key: newId(), name: file.name, share: 0, error: "" } }));
    setUploads((all) => [...all, ...added.map(({ upload }) => upload)]);
    for (const { file, upload } of added) {
      try {
        await uploadFile(file, { onProgress: (share) => change(upload.key, { share }) });
        drop(upload.key);
      } catch (error) {
        change(upload.key, { error: messageOf(error) });
      }
    }
    await onDone();
  };
  return html`<${DropZone} label=${t("file.add")} hint=${t("file.addHint")} onFiles=${add} />
    <ul class="uploads" aria-label=${t("state.uploading")}>
      ${uploads.map(
        ({ key, name, share, error }) => html`<li class="upload" key=${key}>
          <bdi>${name}</bdi>
          ${error
            ? html`<span class="row"><span class="problem" role="alert" dir="auto">${error}</span><${Button} kind="quiet" small icon="close" label=${t("action.dismiss")} onClick=${() => drop(key)} /></span>`
            : html`<progress max="1" value=${share} aria-label=${`${t("state.uploading")}: ${name}`}></progress>`}
        </li>`,
      )}
    </ul>`;
}
