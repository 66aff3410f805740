/** Tables, which become lists of cards where there is no room. */

import { html } from "../lib/view.js";

/**
 * @template T
 * @typedef {{ title: string, cell: (row: T) => any, isNumber?: boolean, isMain?: boolean, isActions?: boolean }} Column
 */

/** @param {{ label: string, columns: Column<any>[], rows: any[], keyOf: (row: any) => string | number }} props */
export function Table({ label, columns, rows, keyOf }) {
  const classOf = (/** @type {Column<any>} */ column) =>
    [column.isNumber && "number", column.isMain && "main", column.isActions && "actions"].filter(Boolean).join(" ");
  return html`<table role="table" aria-label=${label}>
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map((column) => html`<th role="columnheader" scope="col" class=${classOf(column)}>${column.isActions ? html`<span class="hidden">${column.title}</span>` : column.title}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows.map(
        (row) => html`<tr role="row" key=${keyOf(row)}>
          ${columns.map((column) => html`<td role="cell" class=${classOf(column)} data-label=${column.title}>${column.cell(row)}</td>`)}
        </tr>`,
      )}
    </tbody>
  </table>`;
}

/** A word about a state, in its colour.
 * @param {{ tone?: "good" | "bad" | "wait" | "plain", children: any }} props */
export function Badge({ tone = "plain", children }) {
  return html`<span class=${`badge ${tone}`}>${children}</span>`;
}
