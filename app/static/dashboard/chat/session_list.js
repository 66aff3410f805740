/** The sessions beside a conversation. */

import { Button } from "../components/button.js";
import { Confirm, Dialog } from "../components/dialog.js";
import { Form, TextField } from "../components/form.js";
import { Empty, ErrorNotice, Loading } from "../components/notice.js";
import { shortTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { addressOf, go } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";

/** @typedef {import("../api/types.js").Session} Session */

/** @param {{ sessions: import("./sessions.js").Sessions, current: string }} props */
export function SessionList({ sessions, current }) {
  const { sessions: list, isLoading, error } = useStore(sessions);
  const [open, setOpen] = useState(/** @type {{ kind: "rename" | "delete", session: Session } | null} */ (null));
  const close = () => setOpen(null);
  return html`<aside class="sessions" aria-label=${t("chat.sessions")}>
    <header><a class="button main" href=${addressOf("chat")}><span>${t("chat.new")}</span></a></header>
    <div class="scroll" tabindex="-1">
      ${error && html`<${ErrorNotice} error=${error} onRetry=${() => sessions.refresh()} />`} ${isLoading && html`<${Loading} />`}
      ${!isLoading && !error && list.length === 0 && html`<${Empty} icon="chat" title=${t("chat.noSessions")} />`}
      <ul>
        ${list.map(
          (session) => html`<${SessionItem} key=${session.session_id} session=${session} isCurrent=${session.session_id === current} onOpen=${setOpen} />`,
        )}
      </ul>
      ${sessions.hasMore && html`<${More} sessions=${sessions} count=${list.length} />`}
    </div>
    ${open?.kind === "rename" && html`<${Rename} sessions=${sessions} session=${open.session} onClose=${close} />`}
    ${open?.kind === "delete" &&
    html`<${Confirm}
      title=${t("chat.deleteTitle")}
      text=${t("chat.deleteText", { name: nameOf(open.session) })}
      action=${t("action.delete")}
      onClose=${close}
      onConfirm=${async () => {
        await sessions.remove(open.session.session_id);
        if (open.session.session_id === current) go("chat");
      }}
    />`}
  </aside>`;
}

/** @param {Session} session */
export function nameOf(session) {
  return session.display_name || session.session_id;
}

/** @param {{ session: Session, isCurrent: boolean, onOpen: (open: { kind: "rename" | "delete", session: Session }) => void }} props */
function SessionItem({ session, isCurrent, onOpen }) {
  return html`<li class=${isCurrent ? "current" : ""}>
    <a href=${addressOf("chat", session.session_id)} aria-current=${isCurrent ? "page" : undefined}>
      <bdi class="name" dir="auto">${nameOf(session)}</bdi>
      <time datetime=${session.updated_at}>${shortTime(session.updated_at)}</time>
    </a>
    <span class="tools">
      <${Button} kind="quiet" small icon="edit" label=${t("chat.rename")} onClick=${() => onOpen({ kind: "rename", session })} />
      <${Button} kind="quiet" small icon="trash" label=${t("action.delete")} onClick=${() => onOpen({ kind: "delete", session })} />
    </span>
  </li>`;
}

/** @param {{ sessions: import("./sessions.js").Sessions, session: Session, onClose: () => void }} props */
function Rename({ sessions, session, onClose }) {
  /** @param {FormData} fields */
  const save = async (fields) => {
    await sessions.rename(session.session_id, String(fields.get("name")));
    onClose();
  };
  return html`<${Dialog} title=${t("chat.rename")} onClose=${onClose}>
    <${Form} action=${t("action.save")} onSubmit=${save} onCancel=${onClose}>
      <${TextField} label=${t("chat.name")} name="name" value=${session.display_name} maxlength="255" />
    <//>
  <//>`;
}

/** Loads the next page when it comes near.
 * @param {{ sessions: import("./sessions.js").Sessions, count: number }} props */
function More({ sessions, count }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && sessions.loadMore().catch(() => {}));
    watcher.observe(/** @type {HTMLElement} */ (element.current));
    return () => watcher.disconnect();
  }, [count]);
  return html`<p class="more" ref=${element}><${Button} small onClick=${() => sessions.loadMore()}>${t("action.more")}<//></p>`;
}
