/** The sessions beside a conversation. */

import { searchMessages } from "../api/chat.js";
import { Button } from "../components/button.js";
import { Empty, ErrorNotice, Loading } from "../components/notice.js";
import { shortTime } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useResource } from "../lib/resource.js";
import { addressOf } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";
import { SessionDialog } from "./session_dialog.js";

/** @typedef {import("../api/types.js").Session} Session */

/** @param {{ sessions: import("./sessions.js").Sessions, current: string }} props */
export function SessionList({ sessions, current }) {
  const { pinned, sessions: list, isLoading, error, search, label } = useStore(sessions);
  const [open, setOpen] = useState(/** @type {Session | null} */ (null));
  const item = (/** @type {Session} */ session) =>
    html`<${SessionItem} key=${session.session_id} sessions=${sessions} session=${session} isCurrent=${session.session_id === current} onOpen=${setOpen} />`;
  const isEmpty = !isLoading && !error && list.length + pinned.length === 0;
  return html`<aside class="sessions" aria-label=${t("chat.sessions")}>
    <header>
      <a class="button main" href=${addressOf("chat")}><span>${t("chat.new")}</span></a>
      <input
        type="search"
        aria-label=${t("chat.searchSessions")}
        placeholder=${t("action.search")}
        dir="auto"
        value=${search}
        onInput=${(/** @type {any} */ event) => sessions.narrow({ search: event.target.value })}
      />
      ${label && html`<p class="row"><${Button} small icon="close" onClick=${() => sessions.narrow({ label: "" })}><bdi>${label}</bdi><//></p>`}
    </header>
    <div class="scroll" tabindex="-1">
      ${error && html`<${ErrorNotice} error=${error} onRetry=${() => sessions.refresh()} />`} ${isLoading && html`<${Loading} />`}
      ${isEmpty && html`<${Empty} icon="chat" title=${t(search || label ? "chat.noneFound" : "chat.noSessions")} />`}
      ${pinned.length > 0 && html`<h2 class="group">${t("chat.pinned")}</h2><ul>${pinned.map(item)}</ul>`}
      ${pinned.length > 0 && list.length > 0 && html`<h2 class="group">${t("chat.others")}</h2>`}
      <ul>${list.map(item)}</ul>
      ${search.trim() && html`<${FoundMessages} username=${sessions.username} words=${search.trim()} />`}
      ${sessions.hasMore && html`<${More} sessions=${sessions} count=${list.length} />`}
    </div>
    ${open && html`<${SessionDialog} sessions=${sessions} session=${open} isCurrent=${open.session_id === current} onClose=${() => setOpen(null)} />`}
  </aside>`;
}

/** Messages with the words that are looked for.
 * @param {{ username: string, words: string }} props */
function FoundMessages({ username, words }) {
  const found = useResource((signal) => searchMessages(username, words, signal), [username, words]);
  if (!found.data?.length) return null;
  return html`<h2 class="group">${t("chat.inMessages")}</h2>
    <ul>
      ${found.data.map(
        (each) => html`<li key=${each.message.id}>
          <a href=${addressOf("chat", each.session_id)}>
            <bdi class="name" dir="auto">${each.display_name || each.session_id}</bdi>
            <span class="snippet" dir="auto">${each.snippet}</span>
          </a>
        </li>`,
      )}
    </ul>`;
}

/** @param {Session} session */
export function nameOf(session) {
  return session.display_name || session.session_id;
}

/** @param {{ sessions: import("./sessions.js").Sessions, session: Session, isCurrent: boolean, onOpen: (session: Session) => void }} props */
function SessionItem({ sessions, session, isCurrent, onOpen }) {
  const pin = () => sessions.change(session.session_id, { pinned: !session.pinned });
  return html`<li class=${isCurrent ? "current" : ""}>
    <a href=${addressOf("chat", session.session_id)} aria-current=${isCurrent ? "page" : undefined}>
      <bdi class="name" dir="auto">${nameOf(session)}</bdi>
      <time datetime=${session.updated_at}>${shortTime(session.updated_at)}</time>
    </a>
    <span class="tools">
      <${Button} kind="quiet" small icon="pin" label=${t(session.pinned ? "chat.unpin" : "chat.pin")} pressed=${session.pinned} onClick=${pin} />
      <${Button} kind="quiet" small icon="more" label=${t("chat.editSession")} onClick=${() => onOpen(session)} />
    </span>
    ${session.labels.length > 0 &&
    html`<span class="badges">
      ${session.labels.map((label) => html`<button type="button" class="badge" onClick=${() => sessions.narrow({ label })}><bdi>${label}</bdi></button>`)}
    </span>`}
  </li>`;
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
