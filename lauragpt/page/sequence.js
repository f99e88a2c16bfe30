// What the GPT saw and wrote, drawn to scale: `[input, <task>, <language>, output]`, a strip for each sequence.

import { el } from "./dom.js";
import { t } from "./texts.js";

const MOST = 12; // sequences that are drawn; long recordings have hundreds
const PARTS = ["frames", "letters", "task", "lang", "prompt", "output"]; // in their order; task and language are one token each

// The strips of a receipt and of its chain's earlier steps; null where the receipt counts nothing.
export function sequenceView(receipt) {
  const rows = [...(receipt.steps ?? []), receipt].flatMap(step => step.sequences ?? []);
  if (!rows.length) return null;
  const longest = Math.max(...rows.map(length));
  const strips = rows.slice(0, MOST).map(row => strip(row, longest));
  const more = rows.length > MOST && el("p.soft.small", {}, t("moreSequences", { count: rows.length - MOST }));
  const used = PARTS.filter(part => rows.some(row => sizeOf(row, part)));
  const legend = el("p.legend.parts", {}, ...used.map(part => el("span", {}, el(`i.${part}`, { "aria-hidden": "true" }), t(`part.${part}`))));
  return el("div.stack", {}, ...strips, more, legend);
}

const sizeOf = (row, part) => (part === "task" || part === "lang" ? 1 : (row[part] ?? 0));
const length = row => PARTS.reduce((sum, part) => sum + sizeOf(row, part), 0);

function strip(row, longest) {
  const parts = PARTS.filter(part => sizeOf(row, part));
  const names = { task: `<${row.task}>`, lang: `<${row.lang}>` };
  const said = parts.map(part => names[part] ?? t(`count.${part}`, { count: row[part] })).join(" · ");
  const bar = el("div.strip", { role: "img", "aria-label": said }, ...parts.map(part => {
    const piece = el(`i.${part}`, { title: names[part] ?? t(`count.${part}`, { count: row[part] }) });
    piece.style.flexGrow = sizeOf(row, part);
    return piece;
  }));
  bar.style.width = `${(100 * length(row)) / longest}%`;
  return el("div", {}, bar, el("p.soft.small", { "aria-hidden": "true" }, said));
}
