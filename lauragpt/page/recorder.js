// Runs beside the page: samples of the microphone -> the page, in pieces of about a tenth of a second.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.kept = [];
    this.count = 0;
  }

  process([[samples]]) {
    if (samples) {
      this.kept.push(samples.slice());
      this.count += samples.length;
    }
    if (this.count >= sampleRate / 10) {
      const piece = new Float32Array(this.count);
      let at = 0;
      for (const part of this.kept) {
        piece.set(part, at);
        at += part.length;
      }
      [this.kept, this.count] = [[], 0];
      this.port.postMessage(piece, [piece.buffer]);
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
