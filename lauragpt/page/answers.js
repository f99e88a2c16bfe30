// Answers as something to look at, to play and to work with.

import { el, save, stem, tell } from "./dom.js";
import { soundView } from "./player.js";
import { sequenceView } from "./sequence.js";
import { decode, RATE } from "./sound.js";
import { spanPicker } from "./span.js";
import { t } from "./texts.js";
import { transcriptView } from "./transcript.js";
import { codeOf } from "./verbs.js";

const TOKENS = 25; // a second
const percent = share => `${Math.round(100 * share)} %`;
const meanOf = values => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

// The confidence of an answer, 0 to 1: of a transcript the mean over its words; null where there is none.
export function confidenceOf(row) {
  if (row.scores) return Math.max(...Object.values(row.scores));
  if (row.words) return meanOf(row.words.map(word => word.confidence).filter(value => value !== null));
  if (row.segments?.[0]?.avg_logprob !== undefined) return Math.exp(meanOf(row.segments.map(segment => segment.avg_logprob)));
  return row.confidence ?? null;
}

// An answer from its question to its end. `wave`: of the recording, null for a text or what the browser cannot decode.
// `again(row, [start, end])` is asked for where a part of speech is to be made anew, and `span` was.
// Returns {element, drawn, heard(event), finish({row, sound, receipt}, commands)}; `drawn` is a promise where the recording is drawn.
export function answerView(verb, { name, wave, text, options, again, span }) {
  const element = el("div.stack");
  const title = stem(name ?? "speech");
  const isTranscript = verb === "transcribe" || verb === "live";
  const transcript = isTranscript ? transcriptView(title, wave && (start => view.playFrom(start))) : null;
  const view = wave && verb !== "enhance" ? soundView([{ name: t("input"), wave }], at => transcript?.follow(at)) : null;
  if (view) element.append(view);
  if (transcript) element.append(transcript);
  activate(element);
  let language;

  return {
    element,
    drawn: view?.drawn,
    heard(event) {
      language ??= event.language;
      transcript.add(event.words);
    },
    async finish({ row, sound, receipt }, commands) {
      element.append(...warnings(receipt));
      if (transcript) transcript.finish({ ...row, type: undefined, language: row.language ?? language, receipt });
      else if (sound) await showSound(element, verb, { title, wave, text, row, sound, receipt, options, again, span });
      else element.append(...written(verb, row, receipt, text));
      element.append(...underTheHood(receipt, commands));
    },
  };
}

async function showSound(element, verb, { title, wave, text, row, sound, receipt, options, again, span }) {
  const made = await decode(sound);
  if (text) element.append(el("p.text", { lang: verb === "chain" ? "" : options.language || "" }, text));
  if (verb === "chain") element.append(steps(receipt));
  if (!made) return element.append(el("button", { type: "button", onclick: () => save(`${title}.wav`, sound) }, t("saveSound")));
  const file = { speak: "speech.wav", enhance: `${title}-clean.wav`, chain: `${title}-answer.wav` }[verb];
  const track = { name: t(verb === "enhance" ? "enhanced" : "answer"), wave: made, file, blob: sound };
  const compared = wave && (verb === "enhance" || (verb === "chain" && !options.steps.includes("speak")));
  const view = soundView(compared ? [{ name: t("input"), wave }, track] : [track], undefined, tokensOf(row));
  element.append(view);
  if (compared) view.swap();
  if (row?.segments) element.append(spanPicker(view, made.length / RATE, span, (...ends) => again(row, ends)));
  activate(element);
}

// The audio tokens of speech, [{at, width, share}] in shares of all of it and with their probability; none where the answer does not hold them.
function tokensOf(row) {
  const all = row?.segments?.at(-1)?.end;
  return (row?.segments ?? []).flatMap(({ start, probabilities = [] }) => probabilities.map((share, n) => ({ at: (start + n / TOKENS) / all, width: 1 / TOKENS / all, share })));
}

// Keys within an answer: space plays, X changes between input and answer.
function activate(element) {
  const view = [...element.querySelectorAll(".sound")].at(-1);
  element.keys = event => {
    if (!view || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), textarea, select, [contenteditable]")) return;
    if (event.key.toLowerCase() === "x") view.swap();
    else if (event.key === " " && !event.target.closest("button, a, summary, input")) view.toggle();
    else return;
    event.preventDefault();
  };
}

function warnings(receipt) {
  const lines = [receipt.failed, receipt.untranslated, receipt.truncated && t("truncated"), receipt.finish === "length" && t("cutShort")];
  return lines.filter(Boolean).map(line => el("p.error.small", {}, line));
}

function written(verb, row, receipt, text) {
  if (verb === "translate") {
    const source = text ?? receipt.transcript ?? null;
    const target = el("div", {}, el("h3", {}, t("translation")), el("p.big", { lang: codeOf(row.language ?? row.lang) }, row.text || t("empty")));
    return [source === null ? target : el("div.pair", {}, el("div", {}, el("h3", {}, t("source")), el("p.text", { lang: receipt.heard ?? receipt.source_lang ?? "" }, source)), target), tools(row)];
  }
  const before = verb === "chain" ? [text !== null && el("p.text", {}, text), steps(receipt)].filter(Boolean) : [];
  if (row.scores) return [...before, bars(row.scores)];
  if (row.intent) return [...before, intentCard(row)];
  const share = confidenceOf(row);
  return [...before, el("p.big", { lang: row.lang ?? "" }, row.text || t("empty")), share !== null && el("p.soft.small", {}, t("confidence", { share: Math.round(100 * share) })), tools(row)].filter(Boolean);
}

const tools = row => el("div.row", {}, el("button", { type: "button", onclick: () => navigator.clipboard.writeText(row.text).then(() => tell(t("copied"))) }, t("copy")));

function steps(receipt) {
  const made = (receipt.steps ?? []).map(step => el("li", {}, el("b", {}, step.step), ` ${step.text ?? t("soundOf", { seconds: step.seconds_given?.toFixed(1) ?? "?" })}`));
  return made.length ? el("ol.steps", { "aria-label": t("steps") }, ...made) : "";
}

function bars(scores) {
  const sorted = Object.entries(scores).sort((one, other) => other[1] - one[1]);
  return el("div.stack", {}, el("p.big", {}, t(`emotion.${sorted[0][0]}`)), el("ul.bars", {}, ...sorted.map(([label, share]) => {
    const bar = el("i", { "aria-hidden": "true" });
    bar.style.width = `${100 * share}%`;
    return el("li", {}, el("span", {}, t(`emotion.${label}`)), bar, el("em", {}, percent(share)));
  })));
}

function intentCard(row) {
  const slots = Object.entries(row.slots).flatMap(([slot, value]) => [el("dt", {}, slot), el("dd", {}, value)]);
  return el("dl.facts", {}, el("dt", {}, t("intent")), el("dd", {}, row.intent), ...slots,
    el("dt", {}, t("certainty")), el("dd", {}, row.confidence === null ? "–" : percent(row.confidence)));
}

function underTheHood(receipt, commands) {
  const code = Object.entries(commands).map(([name, text]) => {
    const copy = el("button", { type: "button", "aria-label": t("copyCommand", { name: t(`command.${name}`) }), onclick: () => navigator.clipboard.writeText(text).then(() => tell(t("copied"))) }, t("copy"));
    return el("div.stack", {}, el("div.row", {}, el("h3.grow", {}, t(`command.${name}`)), copy), el("pre", { tabIndex: 0, "aria-label": t(`command.${name}`), role: "group" }, text));
  });
  const sequence = sequenceView(receipt);
  return [
    sequence && el("details", {}, el("summary", {}, t("sequence")), sequence),
    ...(code.length ? [el("details", {}, el("summary", {}, t("sameRequest")), el("div.stack", {}, ...code))] : []),
    el("details", {}, el("summary", {}, t("receipt")), el("pre", { tabIndex: 0, role: "group", "aria-label": t("receipt") }, JSON.stringify(receipt, null, 1))),
  ].filter(Boolean);
}
