// Several recordings at once: a table that grows, and can be saved.

import { ask } from "./api.js";
import { confidenceOf } from "./answers.js";
import { el, save, stem } from "./dom.js";
import { csv, srt, zip } from "./exports.js";
import { t } from "./texts.js";
import { requestOf } from "./verbs.js";

const AT_ONCE = 3; // requests; the server answers those that wait together

// Asks all files; `opened(file, result)` is called where a person wants to see one answer. Resolves when all are answered or failed.
export async function runBatch(table, files, verb, options, { signal, told, opened }) {
  const rows = files.map(file => ({ file, result: null, error: null }));
  const cells = rows.map(row => el("tr", {}, el("td.name", { "data-label": t("file") }, row.file.name), ...["answer", "certainty", "action"].map(name =>
    el(name === "certainty" ? "td.num" : "td", name === "action" ? {} : { "data-label": t(name) }))));
  const body = el("tbody", {}, ...cells);
  const columns = ["file", "answer", "certainty", "action"].map(name => el("th", { scope: "col" }, name === "action" ? el("span.sr", {}, t("action")) : t(name)));
  const tools = el("div.row");
  table.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...columns)), body), tools);
  const show = number => {
    const { result, error, file } = rows[number];
    const [, answer, certainty, action] = cells[number].children;
    answer.textContent = error ?? (result ? textOf(result) : t("working"));
    answer.classList.toggle("failed", error !== null);
    const share = result?.row ? confidenceOf(result.row) : null;
    certainty.textContent = share === null ? "" : `${Math.round(100 * share)} %`;
    if (result) action.replaceChildren(el("button", { type: "button", "aria-label": t("openFile", { file: file.name }), onclick: () => opened(file, result) }, t("open")));
  };
  let [next, done] = [0, 0];
  const work = async () => {
    while (next < rows.length && !signal.aborted) {
      const number = next++;
      show(number);
      try {
        rows[number].result = await ask(requestOf(verb, options, rows[number].file, null, false), { signal, told: () => {} });
      } catch (error) {
        if (error.name === "AbortError") return;
        rows[number].error = error.message;
      }
      show(number);
      told({ phase: "working", share: ++done / rows.length });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  tools.replaceChildren(...saving(rows.filter(row => row.result || row.error), verb));
  if (signal.aborted) throw new DOMException("cancelled", "AbortError");
}

const textOf = ({ row, receipt }) => (row ? row.text || t("empty") : t("soundOf", { seconds: receipt.seconds_given?.toFixed(1) ?? "?" }));

function saving(rows, verb) {
  if (!rows.length) return [];
  const header = ["file", "text", "confidence", "language", "error"];
  const line = ({ file, result, error }) => [file.name, result?.row?.text ?? "", result?.row ? confidenceOf(result.row) : "", result?.row?.language ?? result?.row?.lang ?? "", error ?? ""];
  const plain = ({ file, result, error }) => ({ file: file.name, ...(error ? { error } : { ...result.row, receipt: result.receipt }) });
  const files = [["CSV", () => save(`${verb}.csv`, csv([header, ...rows.map(line)]), "text/csv;charset=utf-8")],
    ["JSON", () => save(`${verb}.json`, `${JSON.stringify(rows.map(plain), null, 1)}\n`, "application/json")]];
  if (rows.some(row => row.result?.row?.words)) files.push(["SRT", () => save(`${verb}-srt.zip`, zip(named(rows)))]);
  return files.map(([format, write]) => el("button", { type: "button", "aria-label": t("saveAs", { format }), onclick: write }, format));
}

// A file each, no two of one name.
function named(rows) {
  const taken = new Map();
  return rows.filter(row => row.result?.row?.words).map(({ file, result }) => {
    const count = taken.get(stem(file.name)) ?? 0;
    taken.set(stem(file.name), count + 1);
    return { name: `${stem(file.name)}${count ? `-${count + 1}` : ""}.srt`, text: srt(result.row.words) };
  });
}
