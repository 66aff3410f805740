/** What a component loads. */

import { useCallback, useEffect, useRef, useState } from "./view.js";

/**
 * @template T
 * @typedef {{ data: T | undefined, error: Error | null, isLoading: boolean, reload: () => Promise<void> }} Resource
 */

/** Load when drawn first and whenever `dependencies` change; what comes too late is dropped.
 * @template T @param {(signal: AbortSignal) => Promise<T>} load @param {unknown[]} dependencies
 * @returns {Resource<T>} */
export function useResource(load, dependencies) {
  const [state, setState] = useState(
    /** @type {{ data: T | undefined, error: Error | null, isLoading: boolean }} */ ({
      data: undefined,
      error: null,
      isLoading: true,
    }),
  );
  const current = useRef(/** @type {AbortController | null} */ (null));
  const reload = useCallback(async () => {
    current.current?.abort();
    const control = new AbortController();
    current.current = control;
    setState((before) => ({ ...before, isLoading: true }));
    try {
      const data = await load(control.signal);
      if (!control.signal.aborted) setState({ data, error: null, isLoading: false });
    } catch (error) {
      if (!control.signal.aborted) {
        setState((before) => ({ ...before, error: /** @type {Error} */ (error), isLoading: false }));
      }
    }
  }, dependencies);
  useEffect(() => {
    reload();
    return () => current.current?.abort();
  }, [reload]);
  return { ...state, reload };
}

/** Call `action` every `seconds` while the page is seen, and when it is seen again.
 * @param {() => void} action @param {number} seconds @param {unknown[]} dependencies */
export function useRefreshing(action, seconds, dependencies) {
  useEffect(() => {
    const act = () => document.visibilityState === "visible" && action();
    const timer = setInterval(act, seconds * 1000);
    document.addEventListener("visibilitychange", act);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", act);
    };
  }, dependencies);
}
