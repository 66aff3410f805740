/** A conversation: its messages, and the line to write in. */

import { Button } from "../components/button.js";
import { Empty, ErrorNotice, Loading } from "../components/notice.js";
import { language, t } from "../lib/i18n.js";
import { useStore } from "../lib/store.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/view.js";
import { useAttachments } from "./attachments.js";
import { Composer } from "./composer.js";
import { MessageView } from "./message_view.js";
import { textOf } from "./reply.js";
import { useKeptPlace, useStickyEnd } from "./scrolling.js";
import { Turns } from "./turns.js";

/** @param {{ conversation: import("./conversation.js").Conversation, sessionConfig: string | null, onSent: () => void }} props */
export function ConversationView({ conversation, sessionConfig, onSent }) {
  const { entries, hasMore, isLoading, error, activeRuns } = useStore(conversation);
  const { scroller, content, isAtEnd, toEnd } = useStickyEnd([conversation]);
  const keepPlace = useKeptPlace(scroller, entries[0]?.key);
  const attachments = useAttachments(conversation);
  const turns = useMemo(() => new Turns(conversation), [conversation]);
  const [isDropping, setDropping] = useState(false);
  useEffect(() => conversation.open(), [conversation]);

  // What is drawn of a message stays as it is for as long as the message does: a change costs as much as changes.
  const { texts } = useStore(language);
  const drawn = useMemo(() => new WeakMap(), [turns, texts]);
  /** @param {import("./entries.js").Entry} entry */
  const draw = (entry) => {
    if (!drawn.has(entry)) drawn.set(entry, html`<${MessageView} key=${entry.key} entry=${entry} turns=${turns} />`);
    return drawn.get(entry);
  };

  /** @param {import("./reply.js").Part[]} parts @param {Record<string, unknown>} options */
  const send = async (parts, options) => {
    requestAnimationFrame(toEnd);
    const sending = conversation.send(parts, options);
    onSent();
    await sending;
    onSent();
  };
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    setDropping(false);
    attachments.add([...(event.dataTransfer?.files ?? [])]);
  };
  /** @param {DragEvent} event */
  const drag = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    setDropping(event.type !== "dragleave");
  };

  return html`<section class=${`conversation ${isDropping ? "dropping" : ""}`} aria-label=${t("chat.conversation")} onDragOver=${drag} onDragLeave=${drag} onDrop=${drop}>
    <div class="messages" ref=${scroller} tabindex="0" role="log" aria-live="off" aria-label=${t("chat.messages")}>
      <div class="column" ref=${content}>
        ${hasMore && html`<${Older} first=${entries[0]?.key} scroller=${scroller} onLoad=${() => conversation.loadOlder(keepPlace)} />`} ${isLoading && html`<${Loading} />`}
        ${error && html`<${ErrorNotice} error=${error} onRetry=${() => conversation.sync()} />`}
        ${!isLoading && !error && entries.length === 0 && html`<${Empty} icon="chat" title=${t("chat.emptyTitle")}>${t("chat.emptyText")}<//>`}
        ${entries.map(draw)}
      </div>
    </div>
    ${!isAtEnd && html`<div class="to-end"><${Button} icon="arrowDown" label=${t("chat.toEnd")} onClick=${toEnd} /></div>`}
    <${Announcements} entries=${entries} isBusy=${activeRuns > 0} />
    <${Composer} key=${conversation.sessionId} attachments=${attachments} sessionConfig=${sessionConfig} isBusy=${activeRuns > 0} onSend=${send} onStop=${() => conversation.stop()} />
  </section>`;
}

/** How far above what is seen older messages are loaded, so that a reader who scrolls on seldom waits. */
const MARGIN = "2400px 0px 0px 0px";

/** Loads older messages when it comes near.
 * @param {{ first: string, scroller: { current: HTMLElement | null }, onLoad: () => Promise<void> }} props */
function Older({ first, scroller, onLoad }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && onLoad().catch(() => {}), { root: scroller.current, rootMargin: MARGIN });
    watcher.observe(/** @type {HTMLElement} */ (element.current));
    return () => watcher.disconnect();
  }, [first]);
  return html`<div class="older" ref=${element}><${Button} small onClick=${onLoad}>${t("chat.older")}<//></div>`;
}

/** What a screen reader hears: that a reply is being written, then the reply.
 * @param {{ entries: import("./entries.js").Entry[], isBusy: boolean }} props */
function Announcements({ entries, isBusy }) {
  const [text, setText] = useState("");
  const wasBusy = useRef(false);
  useEffect(() => {
    if (isBusy) setText(t("chat.writing"));
    else if (wasBusy.current) setText(textOf(entries.at(-1)?.parts ?? []).slice(0, 3000));
    wasBusy.current = isBusy;
  }, [isBusy]);
  return html`<div class="hidden" role="status" aria-live="polite">${text}</div>`;
}
