// The verbs: what each takes and is asked with, as a request to the server and as a command to copy.
//
// A request is {path, form} or {path, json}, and `answer`: "events", "json", "sound", or "speech", which is JSON with sound in it. `form` is a
// list of [name, value].

export const LANGUAGES = ["en", "de"];
export const SPEEDS = [0.25, 4]; // slowest and fastest, as the server takes them
// verb -> [kinds it takes, kind it gives], as engine/chain.py has them
export const STEPS = {
  enhance: ["audio", "audio"], transcribe: ["audio", "text"], translate: ["audio text", "text"], caption: ["audio", "text"],
  emotion: ["audio", "text"], understand: ["audio", "text"], speak: ["text", "audio"],
};

const row = format => [["response_format", format]];
const given = (name, value) => (value ? [[name, value]] : []);

export const VERBS = {
  transcribe: {
    takes: ["audio"], options: ["language"], path: "transcriptions",
    form: o => [...given("language", o.language), ...row("verbose_json"), ["timestamp_granularities[]", "word"]],
    more: [["stream", "true"]], answer: "events",
    python: (o, q) => `laura.transcribe(${q.file}${q.lang(o.language)})`,
    laura: o => `transcribe FILE${flag("--lang", o.language)} --format json`,
  },
  translate: {
    takes: ["audio", "text"], options: ["to", "language"], path: "translations",
    form: o => [["to", o.to], ...given("language", o.language), ...row("verbose_json")], answer: "json",
    python: (o, q) => `laura.translate(${q.text === null ? q.file : `text=${q.text}`}, to="${o.to}"${q.lang(o.language)})`,
    laura: (o, text) => `translate ${text === null ? "FILE" : `--text ${shell(text)}`} --to ${o.to}${flag("--lang", o.language)} --format json`,
  },
  speak: {
    takes: ["text"], options: ["voice", "language", "speed", "seed"], path: "speech", answer: "sound",
    python: (o, q) => `laura.speak(${q.text}${o.voice ? `, voice="${o.voice}"` : ""}${q.lang(o.language)}, seed=${o.seed})`,
    laura: (o, text) => `speak ${shell(text)}${flag("--voice", o.voice)}${flag("--lang", o.language)} --seed ${o.seed} -o speech.wav`,
  },
  enhance: {
    takes: ["audio"], options: ["verify"], path: "enhancements", form: o => [...given("verify", o.verify && "true"), ...row("wav")], answer: "sound",
    python: (o, q) => `laura.enhance(${q.file}${o.verify ? ", verify=True" : ""})`,
    laura: o => `enhance FILE${o.verify ? " --verify" : ""} -o clean.wav`,
  },
  caption: {
    takes: ["audio"], options: [], path: "captions", form: () => row("verbose_json"), answer: "json",
    python: (o, q) => `laura.caption(${q.file})`, laura: () => "caption FILE --format json",
  },
  emotion: {
    takes: ["audio"], options: [], path: "emotions", form: () => row("verbose_json"), answer: "json",
    python: (o, q) => `laura.emotion(${q.file})`, laura: () => "emotion FILE --format json",
  },
  understand: {
    takes: ["audio"], options: ["language"], path: "intents", form: o => [...given("language", o.language), ...row("verbose_json")], answer: "json",
    python: (o, q) => `laura.understand(${q.file}${q.lang(o.language)})`,
    laura: o => `understand FILE${flag("--lang", o.language)} --format json`,
  },
  chain: {
    takes: ["audio", "text"], options: ["seed"], path: "chains",
    form: o => [["steps", o.steps], ["seed", o.seed], ...(endsInSound(o.steps) ? row("wav") : row("verbose_json"))],
    python: (o, q) => `laura.chain("${o.steps}", ${q.text === null ? q.file : `text=${q.text}`}, seed=${o.seed})`,
    laura: (o, text) => `chain ${shell(o.steps)} ${text === null ? "FILE" : `--text ${shell(text)}`} --seed ${o.seed} -o ${endsInSound(o.steps) ? "answer.wav" : "answer.json"}`,
  },
  live: { takes: ["microphone"], options: ["language"] },
};

// "english" or "en" -> "en".
export const codeOf = language => ({ english: "en", german: "de", chinese: "zh" })[language] ?? language ?? "";

export function endsInSound(steps) {
  const last = steps.split("|").pop().trim().split(":")[0];
  return STEPS[last]?.[1] === "audio";
}

// What the server is sent. `file` is a File; `text` is null where a recording is asked about. `streamed`: with all that the page can show.
export function requestOf(verb, options, file, text, streamed = true) {
  const about = VERBS[verb];
  if (text !== null && verb === "chain") {
    const answer = endsInSound(options.steps) ? "sound" : "json";
    return { path: "/v1/text/chains", json: { input: text, steps: options.steps, seed: options.seed, ...(answer === "json" ? { response_format: "verbose_json" } : {}) }, answer };
  }
  if (text !== null) {
    const json = { input: text, ...(options.language ? { language: options.language } : {}) };
    if (verb === "translate") return { path: "/v1/text/translations", json: { ...json, to: options.to, response_format: "verbose_json" }, answer: "json" };
    const more = { ...(options.voice ? { voice: options.voice } : {}), ...(options.speed === 1 ? {} : { speed: options.speed }) };
    return { path: "/v1/audio/speech", json: { ...json, ...more, seed: options.seed, response_format: streamed ? "verbose_json" : "wav" }, answer: streamed ? "speech" : "sound" };
  }
  const answer = verb === "chain" ? (endsInSound(options.steps) ? "sound" : "json") : about.answer === "events" && !streamed ? "json" : about.answer;
  return { path: `/v1/audio/${about.path}`, form: [["file", file], ...about.form(options), ...(answer === "events" ? about.more : [])], answer };
}

// A part of spoken text made anew. `row`: the answer; `start` and `end`: seconds at its own pace.
export function regenerationOf(options, row, start, end) {
  const seed = options.seed + 1 + (row.receipt.regenerated ?? []).length;
  const more = { ...(options.voice ? { voice: options.voice } : {}), ...(options.speed === 1 ? {} : { speed: options.speed }) };
  return { path: "/v1/audio/regenerations", json: { speech: row, start, end, seed, ...more, response_format: "verbose_json" }, answer: "speech" };
}

// The same request for others: {curl, python, laura}; those that cannot ask it are left out.
export function commandsOf(verb, options, name, text, { origin, model, key, uploaded }) {
  const request = requestOf(verb, options, name, text, false);
  const secret = key ? ' -H "Authorization: Bearer $KEY"' : "";
  const body = request.json
    ? ` --json ${shell(JSON.stringify(request.json))}`
    : request.form.map(([field, value]) => ` -F ${shell(field === "file" ? `file=@${/[;,"\\]/.test(value) ? JSON.stringify(value) : value}` : `${field}=${value}`)}`).join("");
  const commands = { curl: `curl -s ${origin}${request.path}${secret}${body}${request.answer === "sound" ? " -o answer.wav" : ""}` };
  if (uploaded || (verb === "speak" && options.speed !== 1)) return commands; // a voice that this server alone has; a pace that it gives
  const quoted = { file: JSON.stringify(name), text: text === null ? null : JSON.stringify(text), lang: lang => (lang ? `, lang="${lang}"` : "") };
  const sound = request.answer === "sound";
  commands.python = [
    "from lauragpt import Laura", ...(sound ? ["from lauragpt.audio import save_audio"] : []), "", `laura = Laura.load(${JSON.stringify(model)})`,
    `result = ${VERBS[verb].python(options, quoted)}`, sound ? 'save_audio("answer.wav", result.audio, result.sample_rate)' : "print(result.to_json())",
  ].join("\n");
  commands.laura = `laura ${VERBS[verb].laura(options, text).replace("FILE", () => shell(name ?? ""))}${model === "mini" ? "" : ` --model ${shell(model)}`}`;
  return commands;
}

const flag = (name, value) => (value ? ` ${name} ${shell(value)}` : "");

// A word that every POSIX shell reads as it is.
export function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
