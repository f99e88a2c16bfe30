// The microphone: pieces of its wave, its level, and a recording at the end. Samples, not a compressed file, so that every server reads it.

import { Failure } from "./api.js";
import { wav } from "./sound.js";
import { t } from "./texts.js";

const REASONS = { NotAllowedError: "micRefused", SecurityError: "micRefused", NotFoundError: "micMissing", NotReadableError: "micBusy" };

// Opens it. `heard(piece, level)`: Float32Array and 0 to 1. Returns {rate, stop() -> WAV file}. Failure where the browser refuses.
export async function openMicrophone(heard) {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) throw new Failure(t("micInsecure"));
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    throw new Failure(t(REASONS[error.name] ?? "micBusy"));
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("/page/recorder.js");
  await context.resume();
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const pieces = [];
  node.port.onmessage = ({ data }) => {
    pieces.push(data);
    const power = data.reduce((sum, sample) => sum + sample * sample, 0) / data.length;
    heard(data, Math.max(0, Math.min(1, 1 + (10 * Math.log10(power + 1e-9)) / 60)));
  };
  context.createMediaStreamSource(stream).connect(node);
  return {
    rate: context.sampleRate,
    async stop() {
      for (const track of stream.getTracks()) track.stop();
      node.port.onmessage = null;
      await context.close();
      const wave = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
      pieces.reduce((at, piece) => (wave.set(piece, at), at + piece.length), 0);
      return wave.length ? wav(wave, context.sampleRate) : null;
    },
  };
}
