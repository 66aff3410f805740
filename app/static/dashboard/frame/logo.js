/** The name, with its sign. */

import { html } from "../lib/view.js";

export function Logo() {
  return html`<p class="logo">
    <svg width="28" height="28" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="logo-ground" />
      <path d="M8 10.5A2.5 2.5 0 0 1 10.5 8h11a2.5 2.5 0 0 1 2.5 2.5v7a2.5 2.5 0 0 1-2.5 2.5H15l-5 4v-4a2 2 0 0 1-2-2z" class="logo-sign" />
    </svg>
    <span>Palaver</span>
  </p>`;
}
