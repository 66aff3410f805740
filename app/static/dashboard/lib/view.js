/** The view library under one name: Preact, its hooks, and templates by htm. */

import htm from "../vendor/htm.js";
import { h } from "../vendor/preact.js";

export { createContext, Fragment, render } from "../vendor/preact.js";
export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/preact-hooks.js";

export const html = htm.bind(h);
