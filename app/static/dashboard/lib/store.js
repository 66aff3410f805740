/** A value that components follow. */

import { useEffect, useState } from "./view.js";

/** @template T */
export class Store {
  /** @param {T} value */
  constructor(value) {
    this.value = value;
    /** @type {Set<() => void>} */
    this.followers = new Set();
  }

  /** Replace the value, or some of its members, and tell the followers.
   * @param {Partial<T>} changes */
  set(changes) {
    this.value = { ...this.value, ...changes };
    for (const follower of [...this.followers]) follower();
  }

  /** @param {() => void} follower @returns {() => void} what ends it */
  follow(follower) {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }
}

/** The store's value; the component is drawn again when it changes.
 * @template T @param {Store<T>} store @returns {T} */
export function useStore(store) {
  const [, redraw] = useState({});
  useEffect(() => {
    redraw({}); // it may have changed between the drawing and this
    return store.follow(() => redraw({}));
  }, [store]);
  return store.value;
}
