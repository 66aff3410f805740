/** What can be done with a stored message. */

import { Button } from "../components/button.js";
import { CopyButton } from "../components/copy.js";
import { Confirm } from "../components/dialog.js";
import { t } from "../lib/i18n.js";
import { useStore } from "../lib/store.js";
import { html, useState } from "../lib/view.js";
import { textOf } from "./reply.js";

/** @typedef {import("./entries.js").Entry} Entry */

/** @param {{ entry: Entry, turns: import("./turns.js").Turns, onEdit: () => void }} props */
export function MessageTools({ entry, turns, onEdit }) {
  const [isDeleting, setDeleting] = useState(false);
  const rating = useStore(turns.conversation.opinions).ratings.get(Number(entry.id));
  const text = textOf(entry.parts);
  if (entry.id === null) return null;
  return html`<${Alternatives} entry=${entry} turns=${turns} />
    <span class="tools">
      ${text && html`<${CopyButton} text=${text} />`}
      ${entry.role === "user" && html`<${Button} kind="quiet" small icon="edit" label=${t("action.edit")} onClick=${onEdit} />`}
      ${entry.role === "assistant" &&
      html`<${Button} kind="quiet" small icon="up" label=${t("turn.like")} pressed=${rating === "like"} onClick=${() => turns.rate(entry, "like")} />
        <${Button} kind="quiet" small icon="down" label=${t("turn.dislike")} pressed=${rating === "dislike"} onClick=${() => turns.rate(entry, "dislike")} />`}
      <${Button} kind="quiet" small icon="again" label=${t("turn.again")} onClick=${() => turns.regenerate(entry)} />
      <${Button} kind="quiet" small icon="fork" label=${t("turn.fork")} onClick=${() => turns.fork(entry)} />
      <${Button} kind="quiet" small icon="trash" label=${t("turn.delete")} onClick=${() => setDeleting(true)} />
    </span>
    ${isDeleting &&
    html`<${Confirm} title=${t("turn.deleteTitle")} text=${t("turn.deleteText")} action=${t("action.delete")}
      onClose=${() => setDeleting(false)} onConfirm=${() => turns.remove(entry)} />`}`;
}

/** The other messages in the same place: one shown, the others a step away.
 * @param {{ entry: Entry, turns: import("./turns.js").Turns }} props */
function Alternatives({ entry, turns }) {
  const ids = [...(entry.stored?.alternatives ?? []), Number(entry.id)].sort((one, other) => one - other);
  if (ids.length < 2) return null;
  const place = ids.indexOf(Number(entry.id));
  return html`<span class="alternatives" role="group" aria-label=${t("turn.alternatives")}>
    <${Button} kind="quiet" small icon="left" label=${t("turn.previous")} disabled=${place === 0} onClick=${() => turns.select(ids[place - 1])} />
    <span class="time">${place + 1} / ${ids.length}</span>
    <${Button} kind="quiet" small icon="right" label=${t("turn.next")} disabled=${place === ids.length - 1} onClick=${() => turns.select(ids[place + 1])} />
  </span>`;
}
