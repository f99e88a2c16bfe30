// Requests to the server: their answers, how far they have come, and one clear line where they fail.

import { t } from "./texts.js";

let key = sessionStorage.getItem("key") ?? "";

export const hasKey = () => Boolean(key);
export function setKey(value) {
  key = value;
  sessionStorage.setItem("key", value);
}

// What is told to the person; `status` is 0 where no answer came.
export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});

export async function get(path) {
  return await fetched(path, { headers: authorization() });
}

export async function send(path, form, method = "POST") {
  return await fetched(path, { method, body: form, headers: authorization() });
}

async function fetched(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Failure(t("unreachable"));
  }
  const text = await answer.text();
  if (!answer.ok) throw failure(answer.status, text);
  return JSON.parse(text);
}

function failure(status, text) {
  try {
    return new Failure(JSON.parse(text).error.message, status);
  } catch {
    return new Failure(t("status", { status }), status);
  }
}

// The answer to a request of verbs.js: {row, receipt} or {sound: Blob, receipt}. `told({phase, share})` hears of "upload", "waiting" and
// "working", `heard(event)` of each server-sent event. Aborting the signal ends the work on the server too.
export function ask(request, { signal, told, heard }) {
  return new Promise((resolve, reject) => {
    const name = crypto.randomUUID?.() ?? String(Math.random());
    const xhr = new XMLHttpRequest();
    const watching = new AbortController();
    const events = reader(heard ?? (() => {}));
    const done = finish => value => {
      watching.abort();
      finish(value);
    };
    [resolve, reject] = [done(resolve), done(reject)];
    xhr.open("POST", request.path);
    xhr.responseType = request.answer === "sound" ? "blob" : "text";
    for (const [header, value] of Object.entries({ ...authorization(), "X-Request-Id": name })) xhr.setRequestHeader(header, value);
    xhr.upload.onprogress = event => event.lengthComputable && told({ phase: "upload", share: event.loaded / event.total });
    xhr.upload.onload = () => {
      told({ phase: "waiting" });
      if (request.answer !== "events") watch(name, watching.signal, told);
    };
    if (request.answer === "events") xhr.onprogress = () => xhr.status === 200 && events(xhr.responseText);
    xhr.onerror = () => reject(new Failure(t("unreachable")));
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    xhr.onload = async () => {
      try {
        const body = request.answer === "sound" ? xhr.response : xhr.responseText;
        if (xhr.status !== 200) throw failure(xhr.status, typeof body === "string" ? body : await body.text());
        const receipt = JSON.parse(xhr.getResponseHeader("X-Laura-Receipt") ?? "{}");
        if (request.answer === "sound") return resolve({ sound: body, receipt });
        if (request.answer === "json" || request.answer === "speech") {
          const { audio, ...row } = JSON.parse(body);
          const sound = request.answer === "speech" && new Blob([Uint8Array.from(atob(audio), letter => letter.charCodeAt(0))], { type: "audio/wav" });
          return resolve({ row, sound, receipt: row.receipt ?? receipt });
        }
        const last = events(body);
        if (last?.error) throw new Failure(last.error.message, 500);
        if (last?.type !== "transcript.text.done") throw new Failure(t("cutOff"));
        resolve({ row: last, receipt: last.receipt ?? receipt });
      } catch (error) {
        reject(error);
      }
    };
    signal?.addEventListener("abort", () => xhr.abort());
    if (signal?.aborted) return reject(new DOMException("cancelled", "AbortError"));
    if (request.json) {
      xhr.setRequestHeader("Content-Type", "application/json");
      xhr.send(JSON.stringify(request.json));
    } else {
      const form = new FormData();
      for (const [field, value] of request.form) form.append(field, value);
      xhr.send(form);
    }
  });
}

// Hands over each event of a text that grows, once. Returns the last one.
function reader(heard) {
  let read = 0;
  let last = null;
  return text => {
    for (let end; (end = text.indexOf("\n\n", read)) >= 0; read = end + 2) {
      last = JSON.parse(text.slice(read, end).replace(/^data: /, ""));
      heard(last);
    }
    return last;
  };
}

// What the server itself says of how far the request has come.
async function watch(name, signal, told) {
  try {
    const answer = await fetch(`/v1/progress/${name}`, { headers: authorization(), signal });
    if (!answer.ok) return;
    const events = reader(({ done }) => told(done === null ? { phase: "waiting" } : { phase: "working", share: done }));
    const stream = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "", part; !(part = await stream.read()).done; ) events((text += part.value));
  } catch {
    // The request itself tells what went wrong.
  }
}

// A WebSocket of live captions. Its key is a subprotocol, as a browser can send no header.
export function socket(rate, language) {
  const address = new URL("/v1/audio/stream", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.searchParams.set("sample_rate", rate);
  if (language) address.searchParams.set("language", language);
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(key)));
  const protocols = key ? ["laura", `laura.key.${encoded.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`] : [];
  const made = new WebSocket(address, protocols);
  made.binaryType = "arraybuffer";
  return made;
}
