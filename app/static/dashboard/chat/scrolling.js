/** Keeping the end of a conversation in view while it grows, unless the reader has scrolled up. */

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
