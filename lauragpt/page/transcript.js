// A transcript to play, read, correct and save: words that light up, are coloured by their confidence, and play from where they are.

import { el, save, tell } from "./dom.js";
import { srt, vtt } from "./exports.js";
import { t } from "./texts.js";
import { codeOf } from "./verbs.js";

const [SURE, UNSURE] = [0.8, 0.5]; // confidence

// `name` of the files to save; `play(seconds)` is asked for where a word is clicked, if there is something to play.
export function transcriptView(name, play) {
  let words = []; // [{word, start, end, confidence}], in order of time
  let about = {};
  let now = -1;
  const text = el("p.words", { role: "group", "aria-label": t("transcript") });
  const correct = el("button", { type: "button" }, t("correct"));
  const formats = {
    txt: () => `${plain()}\n`, srt: () => srt(words), vtt: () => vtt(words),
    json: () => `${JSON.stringify({ ...about, text: plain(), words }, null, 1)}\n`,
  };
  const copy = el("button", { type: "button", onclick: () => navigator.clipboard.writeText(plain()).then(() => tell(t("copied"))) }, t("copy"));
  const tools = el("div.row", { hidden: true }, correct, copy, ...Object.entries(formats).map(([format, content]) =>
    el("button", { type: "button", "aria-label": t("saveAs", { format }), onclick: () => save(`${name}.${format}`, content()) }, format)));
  const legend = el("p.legend", { hidden: true }, el("span", {}, t("legend")), el("span.sure2", {}, t("unsure")), el("span.sure1", {}, t("doubtful")));
  const view = el("div.stack", {}, text, legend, tools);

  const plain = () => words.map(({ word }) => word).join(" ");
  const element = number => text.children[number];

  // One stop of the Tab key; the arrow keys go from word to word.
  function show() {
    text.replaceChildren();
    words.forEach((word, number) => append(word, number));
    if (!words.length) text.append(el("span.soft", {}, t("silence")));
    now = -1;
    tools.hidden = legend.hidden = !words.length;
  }
  function append({ word, start, confidence }, number) {
    if (number) text.append(" ");
    const share = confidence === null || confidence === undefined ? "" : t("confidence", { share: Math.round(100 * confidence) });
    const sure = confidence === null || confidence === undefined || confidence >= SURE ? "" : confidence >= UNSURE ? ".sure2" : ".sure1";
    text.append(el(`button${sure}`, { type: "button", tabIndex: number ? -1 : 0, title: share, onclick: () => play?.(start) }, word));
  }
  text.onkeydown = event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const from = [...text.children].indexOf(document.activeElement);
    const next = event.key === "Home" ? 0 : event.key === "End" ? words.length - 1 : from + step;
    if (from < 0 || !element(next)) return;
    event.preventDefault();
    element(from).tabIndex = -1;
    element(next).tabIndex = 0;
    element(next).focus();
  };
  correct.onclick = () => {
    const ends = text.isContentEditable;
    if (ends) {
      words = aligned(text.innerText.split(/\s+/).filter(Boolean), words);
      for (const attribute of ["contenteditable", "aria-multiline"]) text.removeAttribute(attribute);
      text.setAttribute("role", "group");
      show();
      tools.hidden = false; // also where all words were deleted
    } else {
      text.textContent = plain();
      text.contentEditable = "true";
      text.setAttribute("role", "textbox");
      text.setAttribute("aria-multiline", "true");
      text.focus();
    }
    correct.textContent = t(ends ? "correct" : "done");
    for (const tool of tools.children) if (tool !== correct) tool.disabled = !ends;
  };

  view.add = more => {
    if (!words.length) text.replaceChildren();
    more.forEach((word, n) => append(word, words.length + n));
    words = [...words, ...more];
  };
  view.finish = row => {
    about = row;
    text.lang = codeOf(row.language);
    show();
  };
  view.follow = seconds => {
    const found = seconds === null ? -1 : words.findLastIndex(word => word.start <= seconds && seconds < word.end + 0.15);
    if (found === now) return;
    element(now)?.classList.remove("now");
    element((now = found))?.classList.add("now");
  };
  return view;
}

// The words of a corrected text with the times of those that stayed; new ones share the time of what stood there.
export function aligned(texts, words) {
  let [start, end] = [0, 0]; // how many stayed at both ends: corrections are few, so that little is left to compare
  while (start < Math.min(texts.length, words.length) && texts[start] === words[start].word) start++;
  while (end < Math.min(texts.length, words.length) - start && texts.at(-1 - end) === words.at(-1 - end).word) end++;
  const [from, to] = [words[start - 1]?.end ?? 0, words[words.length - end]?.start ?? words.at(-1)?.end ?? 0];
  const middle = alignedMiddle(texts.slice(start, texts.length - end), words.slice(start, words.length - end), from, to);
  return [...words.slice(0, start), ...middle, ...words.slice(words.length - end)];
}

function alignedMiddle(texts, words, from, to) {
  const lengths = Array.from({ length: texts.length + 1 }, () => new Uint16Array(words.length + 1));
  for (let i = texts.length - 1; i >= 0; i--)
    for (let j = words.length - 1; j >= 0; j--)
      lengths[i][j] = texts[i] === words[j].word ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  const result = [];
  let [i, j, lostFrom, open] = [0, 0, 0, []];
  const close = next => {
    const lost = words.slice(lostFrom, next); // what stood where the new words stand
    const start = lost[0]?.start ?? result.at(-1)?.end ?? from;
    const end = Math.max(start, lost.at(-1)?.end ?? words[next]?.start ?? to);
    open.forEach((word, n) => result.push({ word, start: start + ((end - start) * n) / open.length, end: start + ((end - start) * (n + 1)) / open.length, confidence: null }));
    [open, lostFrom] = [[], next];
  };
  while (i < texts.length) {
    if (j < words.length && texts[i] === words[j].word) {
      close(j);
      result.push(words[j]);
      [i, j] = [i + 1, j + 1];
      lostFrom = j;
    } else if (j < words.length && lengths[i][j + 1] > lengths[i + 1][j]) j++;
    else open.push(texts[i++]);
  }
  close(words.length);
  return result.map(word => ({ ...word, start: round(word.start), end: round(word.end) }));
}

const round = seconds => Math.round(seconds * 1000) / 1000;
