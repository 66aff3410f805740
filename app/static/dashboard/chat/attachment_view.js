/** A file in a message: images are shown, all else can be opened. */

import { urlOf } from "../api/http.js";
import { may } from "../account.js";
import { Icon } from "../components/icon.js";
import { t } from "../lib/i18n.js";
import { html, useState } from "../lib/view.js";

/** @param {{ part: import("./reply.js").Part }} props */
export function AttachmentView({ part }) {
  const [isBroken, setBroken] = useState(false);
  const name = part.filename || t(part.type === "image" ? "file.image" : "file.file");
  if (!part.attachment_id || !may("file")) {
    return html`<span class="attachment"><${Icon} name="file" size=${16} /><bdi>${name}</bdi></span>`;
  }
  const url = urlOf("api/v1/file", { attachment_id: part.attachment_id }).href;
  if (part.type === "image" && !isBroken) {
    return html`<a class="picture" href=${url} target="_blank" rel="noopener">
      <img src=${url} alt=${name} loading="lazy" onError=${() => setBroken(true)} />
    </a>`;
  }
  if (part.type === "record" && !isBroken) {
    return html`<audio controls preload="none" src=${url} aria-label=${name} onError=${() => setBroken(true)}></audio>`;
  }
  return html`<a class="attachment" href=${url} target="_blank" rel="noopener"><${Icon} name="file" size=${16} /><bdi>${name}</bdi></a>`;
}
