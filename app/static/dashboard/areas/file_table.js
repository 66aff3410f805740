/** A table of files, with small pictures of images. */

import { account } from "../account.js";
import { contentAddress } from "../api/files.js";
import { Button } from "../components/button.js";
import { CopyButton } from "../components/copy.js";
import { Icon } from "../components/icon.js";
import { Table } from "../components/table.js";
import { dateTime, size } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { html, useState } from "../lib/view.js";

/** @typedef {import("../api/files.js").FileItem} FileItem */

/** @param {{ files: FileItem[], onDelete: (file: FileItem) => void }} props */
export function FileTable({ files, onDelete }) {
  const seesAll = account.value.me?.username === null;
  /** @type {import("../components/table.js").Column<FileItem>[]} */
  const columns = [
    {
      title: t("file.name"),
      isMain: true,
      cell: (file) => html`<span class="file-name"><${Preview} key=${file.attachment_id} file=${file} /><a href=${contentAddress(file.attachment_id)} target="_blank" rel="noopener" dir="auto">${file.filename}</a></span>`,
    },
    { title: t("file.type"), cell: (file) => t(`file.kind.${file.type}`) },
    { title: t("file.size"), isNumber: true, cell: (file) => size(file.size) },
    ...(seesAll ? [{ title: t("key.user"), cell: (/** @type {FileItem} */ file) => html`<bdi>${file.username ?? "–"}</bdi>` }] : []),
    { title: t("file.added"), cell: (file) => dateTime(file.created_at) },
    {
      title: t("table.actions"),
      isActions: true,
      cell: (file) => html`<${CopyButton} text=${file.attachment_id} label=${`${t("file.copyId")}: ${file.filename}`} />
        <${Button} kind="quiet" small icon="trash" label=${`${t("action.delete")}: ${file.filename}`} onClick=${() => onDelete(file)} />`,
    },
  ];
  return html`<${Table} label=${t("area.files")} columns=${columns} rows=${files} keyOf=${(/** @type {FileItem} */ file) => file.attachment_id} />`;
}

/** @param {{ file: FileItem }} props */
function Preview({ file }) {
  const [isBroken, setBroken] = useState(false);
  if (file.type !== "image" || isBroken) return html`<span class="thumbnail"><${Icon} name="file" /></span>`;
  return html`<img class="thumbnail" src=${contentAddress(file.attachment_id)} alt="" loading="lazy" decoding="async" onError=${() => setBroken(true)} />`;
}
