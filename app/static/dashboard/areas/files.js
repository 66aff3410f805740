/** Files: upload them, look one up by its id, delete it. */

import { uploadFile } from "../api/chat.js";
import { urlOf } from "../api/http.js";
import { deleteFile, getFile } from "../api/manage.js";
import { Button } from "../components/button.js";
import { CopyButton } from "../components/copy.js";
import { Confirm } from "../components/dialog.js";
import { DropZone } from "../components/drop_zone.js";
import { Empty } from "../components/notice.js";
import { Page } from "../components/page.js";
import { Table } from "../components/table.js";
import { showError, showNote } from "../components/toasts.js";
import { dateTime, size } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").FileItem} FileItem */

export default function Files() {
  const [files, setFiles] = useState(/** @type {FileItem[]} */ ([]));
  const [uploads, setUploads] = useState(/** @type {Record<string, number>} */ ({}));
  const [deleted, setDeleted] = useState(/** @type {FileItem | null} */ (null));
  /** @param {string} id */
  const show = async (id) => {
    const file = await getFile(id);
    setFiles((all) => [file, ...all.filter((each) => each.attachment_id !== file.attachment_id)]);
  };
  /** @param {File[]} chosen */
  const add = async (chosen) => {
    for (const file of chosen) {
      try {
        const { attachment_id } = await uploadFile(file, {
          onProgress: (share) => setUploads((all) => ({ ...all, [file.name]: share })),
        });
        await show(attachment_id);
      } catch (error) {
        showError(error);
      }
      setUploads(({ [file.name]: _, ...rest }) => rest);
    }
  };
  return html`<${Page} title=${t("area.files")} intro=${t("file.intro")}>
    <${DropZone} label=${t("file.add")} hint=${t("file.addHint")} onFiles=${add} />
    ${Object.entries(uploads).map(
      ([name, share]) => html`<p class="upload"><bdi>${name}</bdi><progress max="1" value=${share} aria-label=${t("state.uploading")}></progress></p>`,
    )}
    <${LookUp} onShow=${show} />
    ${files.length === 0 ? html`<${Empty} icon="file" title=${t("file.none")}>${t("file.noneText")}<//>` : html`<${FileTable} files=${files} onDelete=${setDeleted} />`}
    ${deleted &&
    html`<${Confirm} title=${t("file.delete")} text=${t("file.deleteText", { name: deleted.filename })} action=${t("action.delete")} onClose=${() => setDeleted(null)}
      onConfirm=${async () => {
        await deleteFile(deleted.attachment_id);
        setFiles((all) => all.filter((each) => each !== deleted));
        showNote(t("file.deleted"));
      }} />`}
  <//>`;
}

/** @param {{ onShow: (id: string) => Promise<void> }} props */
function LookUp({ onShow }) {
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    try {
      await onShow(String(new FormData(form).get("id")).trim());
      form.reset();
    } catch (error) {
      showError(error);
    }
  };
  return html`<form class="search-line" role="search" onSubmit=${submit}>
    <input name="id" required aria-label=${t("file.id")} placeholder=${t("file.id")} autocomplete="off" />
    <${Button} type="submit" icon="search">${t("file.find")}<//>
  </form>`;
}

/** @param {{ files: FileItem[], onDelete: (file: FileItem) => void }} props */
function FileTable({ files, onDelete }) {
  /** @type {import("../components/table.js").Column<FileItem>[]} */
  const columns = [
    {
      title: t("file.name"),
      isMain: true,
      cell: (file) => html`<a href=${urlOf("api/v1/file", { attachment_id: file.attachment_id }).href} target="_blank" rel="noopener" dir="auto">${file.filename}</a>`,
    },
    { title: t("file.type"), cell: (file) => file.type },
    { title: t("file.size"), isNumber: true, cell: (file) => size(file.size) },
    { title: t("file.added"), cell: (file) => dateTime(file.created_at) },
    { title: t("file.id"), cell: (file) => html`<code class="detail">${file.attachment_id}</code> <${CopyButton} text=${file.attachment_id} />` },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (file) => html`<${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${file.filename}`} onClick=${() => onDelete(file)} />`,
    },
  ];
  return html`<${Table} label=${t("area.files")} columns=${columns} rows=${files} keyOf=${(/** @type {FileItem} */ file) => file.attachment_id} />`;
}
