// Live captions: the microphone -> the server's WebSocket -> words while they are spoken.

import { Failure, socket } from "./api.js";
import { el } from "./dom.js";
import { openMicrophone } from "./microphone.js";
import { pcm } from "./sound.js";
import { t } from "./texts.js";

// Listens until the signal is aborted, then waits for the last words. `level` hears how loud it is. Resolves to {file, words, row}.
export async function listen(shown, language, signal, level) {
  const open = el("span.open");
  const captions = el("p.words", { role: "log", "aria-label": t("captions") }, open);
  shown.replaceChildren(captions);
  const words = [];
  const finals = [];
  let done = null;
  let failed = null;
  let link = null;
  const waiting = [];
  const microphone = await openMicrophone((piece, loud) => {
    level(loud);
    const samples = pcm(piece).buffer;
    if (link?.readyState === WebSocket.OPEN) link.send(samples);
    else waiting.push(samples);
  });
  link = socket(microphone.rate, language);
  const stop = () => link.readyState === WebSocket.OPEN && link.send('{"type": "end"}');
  link.onopen = () => {
    for (const samples of waiting) link.send(samples);
    if (signal.aborted) stop();
  };
  signal.addEventListener("abort", stop);
  const closed = new Promise(resolve => (link.onclose = resolve));
  link.onmessage = ({ data }) => {
    const row = JSON.parse(data);
    if (row.error) failed = row.error.message;
    else if (row.type === "transcript.partial") open.textContent = row.text;
    else if (row.type === "transcript.final") {
      open.textContent = "";
      if (row.text) open.before(`${row.text} `);
      finals.push(row);
      for (const segment of row.segments) for (const { text, ...word } of segment.words ?? []) words.push({ word: text, ...word });
    } else done = row;
  };
  await closed;
  const file = await microphone.stop();
  if (failed || !done) throw new Failure(failed ?? t("unreachable"));
  return { file, words, row: { text: done.text, language: finals[0]?.lang }, receipt: done.receipt };
}
