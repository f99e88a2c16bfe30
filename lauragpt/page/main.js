// The page: what is asked, with what, and what comes of it.

import { answerView } from "./answers.js";
import { ask, Failure, get, hasKey, setKey } from "./api.js";
import { runBatch } from "./batch.js";
import { chainBuilder } from "./chain.js";
import { $, clock, el, tell } from "./dom.js";
import { listen } from "./live.js";
import { openMicrophone } from "./microphone.js";
import { silence } from "./player.js";
import { decode } from "./sound.js";
import { pageLanguage, speakLanguage, t } from "./texts.js";
import { commandsOf, LANGUAGES, regenerationOf, requestOf, SPEEDS, VERBS } from "./verbs.js";
import { isUploaded, loadVoices, voicePicker } from "./voices.js";

const STATE = { verb: "transcribe", kind: "audio", text: "", working: false, options: { language: "", to: "de", voice: "", speed: 1, seed: 0, verify: false, steps: { audio: "enhance | transcribe", text: "translate:de | speak" } } };
const DRAWING = 300; // ms at most for the picture of a recording, before the server is asked
const state = restored();
let files = [];
let running = null; // the AbortController of what is being asked
let microphone = null;
let model = "mini";

function restored() {
  const kept = JSON.parse(sessionStorage.getItem("state") ?? "{}");
  return { ...STATE, ...kept, options: { ...STATE.options, ...kept.options } };
}
const remember = () => sessionStorage.setItem("state", JSON.stringify(state));

const optionsOf = kind => ({ ...state.options, steps: state.options.steps[kind] });
const kindNow = () => (VERBS[state.verb].takes.includes(state.kind) ? state.kind : VERBS[state.verb].takes[0]);

// --- what is asked ---------------------------------------------------------------------------------------------------------

function pills(field, name, values, chosen, label, changed) {
  const focused = field.contains(document.activeElement);
  field.replaceChildren(field.querySelector("legend"), ...values.map(value =>
    el("label", {}, el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => changed(value) }), label(value))));
  if (focused) field.querySelector(":checked").focus();
}

function show() {
  pills($("verbs"), "verb", Object.keys(VERBS), state.verb, verb => t(`verb.${verb}`), verb => choose({ verb }));
  $("about").textContent = t(`about.${state.verb}`);
  showFields();
}

function showFields() {
  const kind = kindNow();
  const { takes, options } = VERBS[state.verb];
  $("kinds").hidden = takes.length < 2;
  pills($("kinds"), "kind", takes, kind, value => t(`kind.${value}`), value => choose({ kind: value }));
  $("drop").hidden = kind !== "audio" && !microphone;
  $("text-field").hidden = kind !== "text";
  $("chain-field").hidden = state.verb !== "chain";
  const changed = steps => set({ steps: { ...state.options.steps, [kind]: steps } }); // a chain for each kind of input
  if (state.verb === "chain") $("chain-field").replaceChildren(chainBuilder(state.options.steps[kind], kind, changed));
  $("options").replaceChildren(...options.flatMap(option => FIELDS[option](kind)));
  showFiles();
}

function languages(name, option, empty) {
  const codes = empty ? ["", ...LANGUAGES] : LANGUAGES;
  return [el("label", {}, t(name), el("select", { onchange: event => set({ [option]: event.target.value }) },
    ...codes.map(code => el("option", { value: code, selected: code === state.options[option] }, t(code ? `language.${code}` : "any")))))];
}

const FIELDS = {
  language: kind => languages(kind === "text" ? "textLanguage" : "language", "language", true),
  to: () => languages("to", "to", false),
  seed: () => [el("label", {}, t("seed"), el("input", { type: "number", min: 0, step: 1, value: state.options.seed, oninput: event => set({ seed: Math.max(0, Math.floor(event.target.valueAsNumber) || 0) }) }))],
  speed: () => [el("label", {}, t("speed"), el("input", { type: "number", min: SPEEDS[0], max: SPEEDS[1], step: 0.05, value: state.options.speed,
    oninput: event => set({ speed: Math.min(SPEEDS[1], Math.max(SPEEDS[0], event.target.valueAsNumber || 1)) }), onchange: event => (event.target.value = state.options.speed) }))],
  verify: () => [el("label.check", {}, el("input", { type: "checkbox", checked: state.options.verify, onchange: event => set({ verify: event.target.checked }) }), t("verify"))],
  voice: () => voicePicker(state.options.voice, voice => set({ voice })),
};

function choose(change) {
  Object.assign(state, change);
  remember();
  $("about").textContent = t(`about.${state.verb}`);
  complain("");
  showFields();
}

function set(options) {
  Object.assign(state.options, options);
  remember();
}

function showFiles() {
  $("files").hidden = !files.length;
  $("files").replaceChildren(...files.map((file, number) => el("li", {}, file.name, el("button", {
    type: "button", "aria-label": t("removeFile", { file: file.name }), onclick: () => { files.splice(number, 1); showFiles(); $("pick").focus(); } }, "×"))));
}

function take(list) {
  if (!list.length) return;
  files = [...list];
  if (!VERBS[state.verb].takes.includes("audio")) choose({ verb: "transcribe", kind: "audio" });
  else choose({ kind: "audio" });
  show();
}

async function record() {
  if (microphone) return await stopRecording();
  complain("");
  try {
    let seconds = 0;
    microphone = await openMicrophone((piece, level) => {
      $("level").value = level;
      seconds += microphone ? piece.length / microphone.rate : 0; // null as long as it opens
      $("recorded").textContent = clock(seconds);
    });
    $("record").textContent = t("stop");
    $("recording").hidden = false;
  } catch (error) {
    complain(error);
  }
}

async function stopRecording() {
  const opened = microphone;
  microphone = null;
  $("record").textContent = t("record");
  $("recording").hidden = true;
  const blob = await opened.stop();
  if (blob) take([fileOf(blob)]);
}

const fileOf = blob => new File([blob], `${t("recordingName")}.wav`, { type: "audio/wav" });

// --- from the question to its answer ---------------------------------------------------------------------------------------

async function run() {
  if (running) return;
  const kind = kindNow();
  if (microphone) await stopRecording();
  const text = kind === "text" ? $("text").value.trim() : null;
  if (kind === "audio" && !files.length) return complain(t("chooseFirst"));
  if (kind === "text" && !text) return complain(t("typeFirst"));
  if (state.verb === "chain" && !optionsOf(kind).steps) return complain(t("stepsFirst"));
  await answering(async () => {
    clear();
    if (kind === "microphone") await runLive();
    else if (kind === "audio" && files.length > 1) await runTable();
    else await runOne(kind === "audio" ? files[0] : null, text);
  });
}

// One piece of work at a time, from what is told of it to what went wrong.
async function answering(work) {
  if (running) return;
  silence();
  complain("");
  begin();
  try {
    await work();
    tell(t("answered"));
  } catch (error) {
    complain(error);
  }
  end();
}

function clear() {
  $("nothing").hidden = $("table").hidden = true;
  $("shown").replaceChildren();
}

function begin() {
  running = new AbortController();
  Object.assign(state, { working: true });
  remember();
  $("run").disabled = true;
  $("cancel").disabled = $("progress-field").hidden = false;
  $("cancel").textContent = t(state.verb === "live" ? "stop" : "cancel");
  progress({ phase: "waiting" });
}

function end() {
  const focused = [$("run"), $("cancel"), document.body].includes(document.activeElement);
  running = null;
  Object.assign(state, { working: false });
  remember();
  $("run").disabled = false;
  $("cancel").disabled = $("progress-field").hidden = true;
  if (focused) ($("error").hidden ? $("answer") : $("run")).focus({ preventScroll: true });
}

// A share of 0 is shown as one that is not known: the server tells of it chunk by chunk.
function progress({ phase, share, seconds }) {
  const bar = $("progress");
  if (share) bar.value = Math.min(1, share);
  else bar.removeAttribute("value");
  const percent = Math.round(100 * Math.min(1, share ?? 0));
  const texts = { upload: "uploading", waiting: "waiting", working: share ? "workingShare" : "working", reading: "reading", listening: "listening" };
  $("progress-text").textContent = t(texts[phase], { share: percent, seconds: seconds?.toFixed(1) });
}

function commands(name, text, options) {
  const about = { origin: location.origin, model, key: hasKey(), uploaded: state.verb === "speak" && isUploaded(options.voice) };
  return commandsOf(state.verb, options, name, text, about);
}

async function runOne(file, text) {
  const { verb } = state;
  const options = optionsOf(text === null ? "audio" : "text");
  const asked = commands(file?.name ?? null, text, options);
  const wave = file && (await decode(file));
  const again = (row, span) => regenerate(row, span, text, options);
  const view = answerView(verb, { name: file?.name, wave, text, options, again });
  $("shown").replaceChildren(view.element);
  const heard = event => {
    if (event.end === undefined) return;
    progress({ phase: "reading", seconds: event.end, share: wave && (event.end * 16000) / wave.length });
    view.heard(event);
  };
  // Drawn first: a server on the same machine soon leaves the browser so little of it that the words would wait for the picture.
  await Promise.race([view.drawn, new Promise(resolve => setTimeout(resolve, DRAWING))]);
  try {
    const result = await ask(requestOf(verb, options, file, text), { signal: running.signal, told: progress, heard });
    await view.finish(result, asked);
  } catch (error) {
    if (!view.element.querySelector(".words button")) view.element.remove(); // what was read so far stays
    throw error;
  }
}

// A part of speech made anew: what stands there stays until its successor is there.
async function regenerate(row, span, text, options) {
  await answering(async () => {
    const own = span.map(at => at * options.speed); // seconds at the model's own pace
    const result = await ask(regenerationOf(options, row, ...own), { signal: running.signal, told: progress });
    const view = answerView("speak", { text, options, span, again: (next, ends) => regenerate(next, ends, text, options) });
    $("shown").replaceChildren(view.element);
    await view.finish(result, {});
  });
}

async function runTable() {
  const { verb } = state;
  const options = optionsOf("audio");
  const asked = Object.fromEntries(files.map(file => [file.name, commands(file.name, null, options)]));
  const opened = async (file, result) => {
    silence();
    const view = answerView(verb, { name: file.name, wave: await decode(file), text: null, options });
    $("shown").replaceChildren(view.element);
    if (result.row?.words) view.heard(result.row);
    await view.finish(result, asked[file.name]);
    $("shown").scrollIntoView({ block: "nearest" });
  };
  $("table").hidden = false;
  await runBatch($("table"), files, verb, options, { signal: running.signal, told: progress, opened });
}

async function runLive() {
  $("recording").hidden = false;
  $("drop").hidden = false;
  progress({ phase: "listening" });
  const level = loud => ($("level").value = loud);
  try {
    const { file, words, row, receipt } = await listen($("shown"), state.options.language, running.signal, level);
    files = file ? [fileOf(file)] : [];
    const view = answerView("live", { name: files[0]?.name, wave: file && (await decode(file)), text: null, options: state.options });
    $("shown").replaceChildren(view.element);
    view.heard({ words });
    await view.finish({ row, receipt }, {});
  } finally {
    $("recording").hidden = true;
    showFields();
  }
}

// One line for what went wrong, or none.
function complain(problem) {
  const text = problem?.name === "AbortError" ? t("cancelled") : (problem?.message ?? problem);
  $("error").textContent = text;
  $("error").hidden = !text;
  if (problem instanceof Failure && problem.status === 401) askKey();
  else if (problem instanceof Error && !(problem instanceof Failure) && problem.name !== "AbortError") console.error(problem);
}

// --- the server ------------------------------------------------------------------------------------------------------------

function askKey() {
  $("key-form").hidden = false;
  $("key").focus();
}

async function greet() {
  try {
    model = (await get("/v1/models")).data[0].id;
    $("key-form").hidden = true;
    $("state").textContent = t("model", { name: model });
    await loadVoices();
    showFields();
    for (; (await fetch("/ready")).status === 503; await new Promise(resolve => setTimeout(resolve, 1000))) $("state").textContent = t("loading");
    $("state").textContent = t("model", { name: model });
  } catch (error) {
    if (error.status === 401 && !hasKey()) askKey();
    else complain(error);
  }
}

// --- what a person does ----------------------------------------------------------------------------------------------------

$("pick").onclick = () => $("file").click();
$("file").onchange = () => {
  take($("file").files);
  $("file").value = "";
};
$("record").onclick = record;
$("run").onclick = run;
$("cancel").onclick = () => running?.abort();
$("text").oninput = () => {
  state.text = $("text").value;
  remember();
};
$("text").onkeydown = event => event.key === "Enter" && (event.ctrlKey || event.metaKey) && run();
$("key-form").onsubmit = event => {
  event.preventDefault();
  setKey($("key").value.trim());
  $("key").value = "";
  complain("");
  greet();
};
$("page-language").onchange = event => {
  speakLanguage(event.target.value);
  if ($("state").textContent) $("state").textContent = t("model", { name: model });
  show();
};
$("answer").addEventListener("keydown", event => $("shown").firstElementChild?.keys?.(event));
document.addEventListener("keydown", event => event.key === "Escape" && !document.querySelector("dialog[open]") && running?.abort());
document.addEventListener("dragover", event => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", event => !event.relatedTarget && $("drop").classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", event => take(event.clipboardData?.files ?? []));

$("page-language").value = pageLanguage();
$("text").value = state.text;
speakLanguage();
show();
if (state.working) {
  Object.assign(state, { working: false });
  remember();
  complain(t("reloaded"));
}
greet();
