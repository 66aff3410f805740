/** Files that are to go with the next message. */

import { uploadFile } from "../api/chat.js";
import { may } from "../account.js";
import { messageOf } from "../components/toasts.js";
import { useEffect, useMemo } from "../lib/view.js";
import { Store, useStore } from "../lib/store.js";

/** @typedef {{ key: number, name: string, share: number, error: string, part: import("./reply.js").Part | null, preview: string }} Attachment */

/** @extends {Store<{ attachments: Attachment[] }>} */
class Attachments extends Store {
  constructor() {
    super({ attachments: [] });
    this.last = 0;
    /** @type {Set<Promise<void>>} */
    this.uploads = new Set();
  }

  /** @param {File[]} files */
  add(files) {
    if (!may("file")) return;
    for (const file of files) {
      const uploading = this.upload(file).finally(() => this.uploads.delete(uploading));
      this.uploads.add(uploading);
    }
  }

  /** @param {File} file */
  async upload(file) {
    const key = ++this.last;
    const preview = file.type.startsWith("image/") ? URL.createObjectURL(file) : "";
    this.set({
      attachments: [...this.value.attachments, { key, name: file.name, share: 0, error: "", part: null, preview }],
    });
    try {
      const { attachment_id, filename, type } = await uploadFile(file, {
        onProgress: (share) => this.change(key, { share }),
      });
      this.change(key, { share: 1, part: { type, attachment_id, filename } });
    } catch (error) {
      this.change(key, { error: messageOf(error) });
    }
  }

  /** @param {number} key @param {Partial<Attachment>} changes */
  change(key, changes) {
    const attachments = this.value.attachments.map((each) => (each.key === key ? { ...each, ...changes } : each));
    this.set({ attachments });
  }

  /** @param {number} key */
  remove(key) {
    const removed = this.value.attachments.find((each) => each.key === key);
    if (removed?.preview) URL.revokeObjectURL(removed.preview);
    this.set({ attachments: this.value.attachments.filter((each) => each.key !== key) });
  }

  clear() {
    for (const each of this.value.attachments) this.remove(each.key);
  }

  get isEmpty() {
    return this.value.attachments.every((each) => each.error);
  }

  /** Wait for what is being uploaded; returns the parts of the message. */
  async finish() {
    while (this.uploads.size) await Promise.all(this.uploads);
    return this.value.attachments.flatMap((each) => (each.part ? [each.part] : []));
  }
}

/** The attachments of a conversation's next message.
 * @param {unknown} conversation */
export function useAttachments(conversation) {
  const attachments = useMemo(() => new Attachments(), [conversation]);
  useStore(attachments);
  useEffect(() => () => attachments.clear(), [attachments]);
  return attachments;
}
