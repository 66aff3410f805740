/** Icons: lines of 24 by 24, in the colour of the text. They say nothing that is not in words beside them. */

import { html } from "../lib/view.js";

const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  chat: "M5 5h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-7l-5 4v-4H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2z",
  overview: "M4 20V10M10 20V4M16 20v-7M21 20H3",
  key: "M14.5 9.5a4.5 4.5 0 1 1-1.6-3.4 4.5 4.5 0 0 1 1.6 3.4zM13 12l8 8M17 16l2-2M19.5 18.5l1.5-1.5",
  profile: "M4 6h9M17 6h3M4 12h3M11 12h9M4 18h9M17 18h3M15 4v4M9 10v4M15 16v4",
  server: "M5 4h14a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM5 13h14a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-5a1 1 0 0 1 1-1zM8 7.5h.01M8 16.5h.01",
  bot: "M12 4v3M6 7h12a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM9 12v1.5M15 12v1.5M1.5 12v3M22.5 12v3",
  book: "M5 4h6a2 2 0 0 1 2 2v14a2 2 0 0 0-2-2H3V6a2 2 0 0 1 2-2zM13 6a2 2 0 0 1 2-2h6v14h-6a2 2 0 0 0-2 2",
  tool: "M14.7 6.3a4 4 0 0 0-5.4 5.1L3 17.7 6.3 21l6.3-6.3a4 4 0 0 0 5.1-5.4l-2.6 2.6-2.6-.6-.6-2.6z",
  file: "M6 3h8l5 5v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM14 3v5h5",
  role: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21a8 8 0 0 1 16 0",
  log: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  pulse: "M3 12h4l3-8 4 16 3-8h4",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  ban: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM6 6l12 12",
  star: "M12 4l2.500 5.200 5.500.700-4 3.900 1 5.700-5-2.800-5 2.800 1-5.700-4-3.900 5.500-.700z",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.5l4.5 4.5L19 7",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  again: "M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5",
  fork: "M6 4v6a4 4 0 0 0 4 4h4a4 4 0 0 1 4 4v2M6 10v10M3.5 6.500L6 4l2.500 2.500M15.500 17.500L18 20l2.500-2.500",
  up: "M7 11v9H4v-9zM7 11l4-8a2 2 0 0 1 2.500 2.500L13 9h5.500a2 2 0 0 1 2 2.400l-1.400 7A2 2 0 0 1 17.100 20H7",
  down: "M7 13V4H4v9zM7 13l4 8a2 2 0 0 0 2.500-2.500L13 15h5.500a2 2 0 0 0 2-2.400l-1.400-7A2 2 0 0 0 17.100 4H7",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  arrowDown: "M12 5v14M6 13l6 6 6-6",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  attach: "M20 11l-8.500 8.500a5 5 0 0 1-7-7L13 4a3.300 3.300 0 0 1 4.700 4.700L9 17.200a1.700 1.700 0 0 1-2.400-2.400L14 7.500",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  tag: "M4 4h8l8 8-8 8-8-8zM8.500 8.500h.01",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l4.500 4.500",
  download: "M12 4v11M7 11l5 5 5-5M4 20h16",
  upload: "M12 16V5M7 9l5-5 5 5M4 20h16",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  out: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  options: "M4 8h10M18 8h2M4 16h2M10 16h10M16 6v4M8 14v4",
  link: "M10 14l4-4M8.500 11L6 13.500a3.500 3.500 0 0 0 5 5L13.500 16M15.500 13l2.500-2.500a3.500 3.500 0 0 0-5-5L10.500 8",
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {{ name: IconName, size?: number }} props */
export function Icon({ name, size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
  </svg>`;
}
