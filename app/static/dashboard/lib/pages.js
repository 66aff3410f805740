/** A list that comes page by page. */

import { useResource } from "./resource.js";
import { useEffect, useState } from "./view.js";

/** Load the first page when drawn first and whenever `dependencies` change; `more` loads the next one, if there is one.
 * @template T @param {(cursor: string | null, signal?: AbortSignal) => Promise<{ items: T[], next: string | null }>} load
 * @param {unknown[]} dependencies */
export function usePages(load, dependencies) {
  const first = useResource((signal) => load(null, signal), dependencies);
  const [rest, setRest] = useState(/** @type {{ items: T[], next: string | null }} */ ({ items: [], next: null }));
  useEffect(() => setRest({ items: [], next: first.data?.next ?? null }), [first.data]);
  const more = async () => {
    const page = await load(rest.next);
    setRest((before) => ({ items: [...before.items, ...page.items], next: page.next }));
  };
  return { first, items: [...(first.data?.items ?? []), ...rest.items], more: rest.next ? more : null };
}
