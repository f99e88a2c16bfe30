// Asks a server with OpenAI's client for Node, as npm has it, and prints the answers as one line of JSON.
// node node_client.mjs ADDRESS RECORDING

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [address, recording] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
const model = "mini";
const answers = {};

function transcribed(options = {}) {
  return client.audio.transcriptions.create({ model, file: fs.createReadStream(recording), ...options });
}

function spoken(options = {}, request = {}) {
  return client.audio.speech.create({ model, voice: "slt", input: "One, two.", response_format: "wav", ...options }, request);
}

async function base64(response) {
  return Buffer.from(await response.arrayBuffer()).toString("base64");
}

async function failure(promise) {
  return promise.then(
    () => null,
    (error) => ({ kind: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type }),
  );
}

answers.models = [];
for await (const row of client.models.list()) answers.models.push(row.id);
answers.model = await client.models.retrieve("whisper-1");

answers.json = await transcribed();
answers.text = await transcribed({ response_format: "text" });
answers.verbose = await transcribed({ response_format: "verbose_json", language: "en", timestamp_granularities: ["word", "segment"] });
answers.fromMemory = await transcribed({ file: await toFile(fs.readFileSync(recording), "talk.opus") });
answers.events = [];
for await (const event of await transcribed({ stream: true })) answers.events.push(event);

const { data, response } = await transcribed({ prompt: "names: Laura" }).withResponse();
answers.headers = { text: data.text, ignored: response.headers.get("x-laura-ignored"), receipt: response.headers.get("x-laura-receipt") };

answers.speech = await base64(await spoken());
answers.voiceById = await base64(await spoken({ voice: { id: "slt" } }));
const pieces = [];
for await (const piece of (await spoken({ stream_format: "audio", response_format: "pcm" })).body) pieces.push(piece);
answers.streamed = Buffer.concat(pieces).toString("base64");
answers.speechEvents = await (await spoken({ stream_format: "sse", response_format: "pcm" })).text();

answers.noModel = await failure(client.models.retrieve("gpt-9"));
answers.noVoice = await failure(spoken({ voice: "nobody" }));
answers.noSound = await failure(transcribed({ file: await toFile(Buffer.from("not sound"), "talk.wav") }));

const leaving = new AbortController();
const long = await spoken({ input: "One, two. ".repeat(300), stream_format: "audio" }, { signal: leaving.signal });
try {
  for await (const _ of long.body) leaving.abort();
} catch (error) {
  answers.left = error.name;
}
answers.after = (await transcribed()).text;

console.log(JSON.stringify(answers));
