/** A place to drop files on, or to choose them by. */

import { html, useId, useState } from "../lib/view.js";
import { Icon } from "./icon.js";

/** @param {{ label: string, hint: string, onFiles: (files: File[]) => unknown }} props */
export function DropZone({ label, hint, onFiles }) {
  const id = useId();
  const [isOver, setOver] = useState(false);
  /** @param {DragEvent} event */
  const drag = (event) => {
    event.preventDefault();
    setOver(event.type === "dragover");
  };
  /** @param {DragEvent} event */
  const drop = (event) => {
    drag(event);
    onFiles([...(event.dataTransfer?.files ?? [])]);
  };
  return html`<div class=${`drop-zone ${isOver ? "over" : ""}`} onDragOver=${drag} onDragLeave=${drag} onDrop=${drop}>
    <${Icon} name="upload" />
    <span><label for=${id}>${label}</label> <span class="hint">${hint}</span></span>
    <input
      id=${id}
      type="file"
      multiple
      onChange=${(/** @type {any} */ event) => {
        onFiles([...event.target.files]);
        event.target.value = "";
      }}
    />
  </div>`;
}
