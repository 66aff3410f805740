/** Scrolling a conversation: its end stays in view while it grows, and what is read stays in place while older messages come. */

import { useCallback, useLayoutEffect, useRef, useState } from "../lib/view.js";

const NEAR = 80;

/** @param {unknown[]} dependencies what begins another conversation */
export function useStickyEnd(dependencies) {
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const content = useRef(/** @type {HTMLElement | null} */ (null));
  const isStuck = useRef(true);
  const [isAtEnd, setAtEnd] = useState(true);

  const toEnd = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    isStuck.current = true;
    element.scrollTop = element.scrollHeight;
    setAtEnd(true);
  }, []);

  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (scroller.current);
    const look = () => {
      const rest = element.scrollHeight - element.scrollTop - element.clientHeight;
      isStuck.current = rest < NEAR;
      setAtEnd(isStuck.current);
    };
    const grown = new ResizeObserver(() => {
      if (isStuck.current) element.scrollTop = element.scrollHeight;
    });
    element.addEventListener("scroll", look, { passive: true });
    grown.observe(/** @type {HTMLElement} */ (content.current));
    grown.observe(element);
    toEnd();
    return () => {
      element.removeEventListener("scroll", look);
      grown.disconnect();
    };
  }, dependencies);

  return { scroller, content, isAtEnd, toEnd };
}

/** Keep what is read in place when messages are put in before it. Returns what is to be called before that.
 * @param {{ current: HTMLElement | null }} scroller @param {string | undefined} first the key of the first message */
export function useKeptPlace(scroller, first) {
  const anchor = useRef(/** @type {{ element: Element, top: number } | null} */ (null));
  // Of the component around all messages: theirs, which draw their texts, come before it.
  useLayoutEffect(() => {
    const { element, top } = anchor.current ?? {};
    anchor.current = null;
    if (!element || top === undefined || !scroller.current) return;
    layOut(element);
    const moved = element.getBoundingClientRect().top - top;
    if (moved) scroller.current.scrollTop += moved;
  }, [first]);
  return useCallback(() => {
    const element = scroller.current?.querySelector(".message");
    anchor.current = element ? { element, top: element.getBoundingClientRect().top } : null;
  }, [scroller]);
}

/** Give the messages before `end` their true sizes at once: guesses would be put right under the reader's eyes.
 * @param {Element} end */
function layOut(end) {
  /** @type {HTMLElement[]} */
  const fresh = [];
  for (let each = end.previousElementSibling; each instanceof HTMLElement; each = each.previousElementSibling) fresh.push(each);
  for (const each of fresh) each.style.contentVisibility = "visible";
  // The browser remembers a size when it has drawn a frame with it.
  const release = () => fresh.forEach((each) => (each.style.contentVisibility = ""));
  requestAnimationFrame(() => requestAnimationFrame(release));
}
