/** A reply that is being made: its run's events, put together as the stored message will have them. */

import { Store } from "../lib/store.js";

/**
 * @typedef {{ type: string, text?: string, attachment_id?: string, filename?: string, message_id?: number,
 *   selected_text?: string, tool_calls?: ToolCall[] }} Part
 * @typedef {{ id: string, name: string, args: unknown, ts?: number, result?: unknown, finished_ts?: number, status?: string }} ToolCall
 * @typedef {{ approval_id: string, id: string, name: string, args: unknown }} WaitingApproval
 * @typedef {"waiting" | "running" | "over"} ReplyState
 * @typedef {{ parts: Part[], reasoning: string, refs: any[], approvals: WaitingApproval[], state: ReplyState, isCut: boolean,
 *   error: { code: string, text: string } | null }} ReplyValue
 */

/** @extends {Store<ReplyValue>} */
export class Reply extends Store {
  /** @param {string} runId */
  constructor(runId) {
    super({ parts: [], reasoning: "", refs: [], approvals: [], state: "waiting", isCut: false, error: null });
    this.runId = runId;
    this.lastEventId = 0;
    /** Changes that the next frame shows. @type {ReplyValue} */
    this.next = this.value;
    this.isScheduled = false;
  }

  /** Take an event in; the followers hear of it with the next frame.
   * @param {number} id @param {any} event */
  apply(id, event) {
    if (id && id <= this.lastEventId) return;
    if (id) this.lastEventId = id;
    this.next = { ...this.next, isCut: false, ...changesOf(this.next, event) };
    this.schedule();
  }

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    const show = () => {
      if (!this.isScheduled) return;
      this.isScheduled = false;
      this.set(this.next);
    };
    requestAnimationFrame(show);
    setTimeout(show, 250); // a page in the background has no frames
  }

  /** Show a state at once. @param {Partial<ReplyValue>} changes */
  put(changes) {
    this.next = { ...this.next, ...changes };
    this.set(this.next);
  }
}

/** What an event changes.
 * @param {ReplyValue} value @param {any} event @returns {Partial<ReplyValue>} */
function changesOf(value, event) {
  switch (event.type) {
    case "plain":
      return plainChanges(value, event);
    case "refs":
      return { refs: event.data };
    case "image":
    case "record":
    case "video":
    case "file":
      return { parts: [...value.parts, { type: event.type, attachment_id: event.data }] };
    case "approval_required":
      return { approvals: [...value.approvals, event.data] };
    case "complete":
      // The whole text, for a page that has missed some of it.
      return textOf(value.parts) === event.data ? {} : withoutTools(value, event.data);
    case "error":
      return { error: { code: event.code, text: event.data } };
    case "end":
      return { state: "over", approvals: [] };
    default:
      return {};
  }
}

/** @param {ReplyValue} value @param {any} event @returns {Partial<ReplyValue>} */
function plainChanges(value, event) {
  if (event.chain_type === "reasoning") return { state: "running", reasoning: value.reasoning + event.data };
  if (event.chain_type === "tool_call") {
    return { state: "running", parts: [...value.parts, { type: "tool_call", tool_calls: [JSON.parse(event.data)] }] };
  }
  if (event.chain_type === "tool_call_result") {
    const { id, ts, result } = JSON.parse(event.data);
    return {
      approvals: value.approvals.filter((approval) => approval.id !== id),
      parts: value.parts.map((part) => ({
        ...part,
        tool_calls: part.tool_calls?.map((call) => (call.id === id ? { ...call, result, finished_ts: ts } : call)),
      })),
    };
  }
  const last = value.parts.at(-1);
  const parts =
    last?.type === "plain"
      ? [...value.parts.slice(0, -1), { ...last, text: (last.text ?? "") + event.data }]
      : [...value.parts, { type: "plain", text: event.data }];
  return { state: "running", parts };
}

/** @param {ReplyValue} value @param {string} text @returns {Partial<ReplyValue>} */
function withoutTools(value, text) {
  return value.parts.some((part) => part.type !== "plain") ? {} : { parts: [{ type: "plain", text }] };
}

/** The text of a message's parts.
 * @param {Part[]} parts */
export function textOf(parts) {
  return parts.map((part) => (part.type === "plain" ? (part.text ?? "") : "")).join("");
}
