// Sound in the browser: files -> waves (Float32Array at RATE), waves -> WAV files, levels.

export const RATE = 16000;
const MOST = 80e6; // bytes of a file that is decoded to be drawn and played here

// The wave of a file, one channel; null where the browser cannot decode it, which the server may still be able to.
export async function decode(blob) {
  if (!blob.size || blob.size > MOST) return null;
  try {
    const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());
    const wave = new Float32Array(buffer.length);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const samples = buffer.getChannelData(channel);
      for (let n = 0; n < wave.length; n++) wave[n] += samples[n] / buffer.numberOfChannels;
    }
    return wave;
  } catch {
    return null;
  }
}

// A WAV file of 16 bits and one channel.
export function wav(wave, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * wave.length));
  const word = (at, text) => [...text].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * wave.length, true);
  word(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2], [40, 2 * wave.length, 4]].forEach(
    ([at, value, size]) => (size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)),
  );
  word(36, "data");
  pcm(wave).forEach((sample, n) => view.setInt16(44 + 2 * n, sample, true));
  return new Blob([view], { type: "audio/wav" });
}

export function pcm(wave) {
  return Int16Array.from(wave, sample => Math.round(Math.max(-1, Math.min(1, sample)) * 32767));
}

// Root mean square of the stretches of 20 ms that are not silence: those within 30 dB of the loudest.
export function level(wave) {
  const size = RATE / 50;
  const powers = [];
  for (let start = 0; start + size <= wave.length; start += size) {
    let sum = 0;
    for (let n = start; n < start + size; n++) sum += wave[n] * wave[n];
    powers.push(sum / size);
  }
  const floor = powers.reduce((most, power) => Math.max(most, power), 0) / 1000;
  const loud = powers.filter(power => power > floor);
  return loud.length ? Math.sqrt(loud.reduce((sum, power) => sum + power, 0) / loud.length) : 0;
}

// The factors that give two waves the same level, none of which clips.
export function matched(first, second) {
  const levels = [level(first), level(second)];
  if (!levels[0] || !levels[1]) return [1, 1];
  const gains = [1, levels[0] / levels[1]];
  const peak = Math.max(...[first, second].map((wave, n) => gains[n] * wave.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)));
  return gains.map(gain => gain / Math.max(1, peak));
}
