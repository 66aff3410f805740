/** The area for chatting: the sessions, and the conversation that is open. */

import { account } from "../account.js";
import { Button } from "../components/button.js";
import { t } from "../lib/i18n.js";
import { newId } from "../lib/ids.js";
import { go } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/view.js";
import { Conversation } from "./conversation.js";
import { ConversationView } from "./conversation_view.js";
import { nameOf, SessionList } from "./session_list.js";
import { Sessions } from "./sessions.js";

/** @param {{ rest: string }} props the open session's id, empty for a new one */
export default function ChatPage({ rest }) {
  const { username } = useStore(account);
  const sessions = useMemo(() => new Sessions(username), [username]);
  useStore(sessions);
  const [isListed, setListed] = useState(false);
  const conversation = useConversation(username, rest);
  useEffect(() => sessions.open(), [sessions]);
  useEffect(() => setListed(false), [rest]);
  const session = sessions.all.find((each) => each.session_id === rest);
  const title = session ? nameOf(session) : t("chat.newTitle");
  useEffect(() => {
    document.title = `${title} · Palaver`;
  }, [title]);

  const sent = () => {
    if (rest !== conversation.sessionId) go("chat", conversation.sessionId, { replace: rest === "" });
    sessions.refresh();
  };
  return html`<div class=${`chat ${isListed ? "listed" : ""}`}>
    <${SessionList} sessions=${sessions} current=${rest} />
    <div class="open">
      <header>
        <${Button} kind="quiet" icon="log" label=${t("chat.sessions")} expanded=${isListed} onClick=${() => setListed(!isListed)} />
        <h1 dir="auto">${title}</h1>
      </header>
      <${ConversationView} key=${conversation.sessionId} conversation=${conversation} sessionConfig=${session?.config_id ?? null} onSent=${sent} />
    </div>
  </div>`;
}

/** The conversation of a session. A new one keeps its place when its address gets its id.
 * @param {string} username @param {string} sessionId */
function useConversation(username, sessionId) {
  const last = useRef(/** @type {Conversation | null} */ (null));
  return useMemo(() => {
    const isSame = last.current?.username === username && last.current.sessionId === sessionId;
    if (!isSame || !last.current) {
      last.current = sessionId
        ? new Conversation(username, sessionId, { isNew: false })
        : new Conversation(username, newId(), { isNew: true });
    }
    return last.current;
  }, [username, sessionId]);
}
