/** The frame of an area: its title, what to do there, and its content. */

import { html, useEffect, useRef } from "../lib/view.js";

/** @param {{ title: string, intro?: string, actions?: any, children: any }} props */
export function Page({ title, intro, actions, children }) {
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    document.title = `${title} · Palaver`;
    heading.current?.focus({ preventScroll: true });
  }, [title]);
  return html`<div class="page">
    <header class="page-header">
      <div>
        <h1 ref=${heading} tabindex="-1">${title}</h1>
        ${intro && html`<p class="intro">${intro}</p>`}
      </div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}
  </div>`;
}
