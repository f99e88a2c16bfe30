// One or more waves of the same length as something to play and to look at: buttons, waveform, spectrogram, a cursor that moves.

import { clock, el, save } from "./dom.js";
import { drawDifference, drawSpectrogram, drawTokens, drawWave } from "./picture.js";
import { matched, RATE, wav } from "./sound.js";
import { t } from "./texts.js";

let context = null;
let playing = null; // one player at a time

// Plays all waves at once and lets one of them be heard, so that changing between them skips nothing.
class Player {
  constructor(waves, gains) {
    this.waves = waves;
    this.gains = gains;
    this.chosen = 0;
    this.at = 0; // seconds, while it stands still
    this.sources = null;
    this.seconds = Math.max(...waves.map(wave => wave.length)) / RATE;
  }

  get time() {
    return this.sources ? Math.min(this.seconds, context.currentTime - this.began) : this.at;
  }

  play(at = this.at >= this.seconds - 0.02 ? 0 : this.at, end = this.seconds) {
    if (playing && playing !== this) playing.pause();
    this.pause();
    context ??= new AudioContext();
    context.resume();
    playing = this;
    [this.at, this.end] = [at, end];
    this.began = context.currentTime - at;
    this.volumes = this.waves.map(() => new GainNode(context, { gain: 0 }));
    this.sources = this.waves.map((wave, n) => {
      const buffer = context.createBuffer(1, Math.max(1, wave.length), RATE);
      buffer.copyToChannel(wave, 0);
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(this.volumes[n]).connect(context.destination);
      source.start(0, at);
      return source;
    });
    this.choose(this.chosen);
    this.changed?.();
    this.moved?.(at);
    const step = () => {
      if (!this.sources) return;
      if (this.time >= this.end - 0.005) {
        this.pause();
        if (this.at >= this.seconds - 0.02) this.at = 0;
      } else requestAnimationFrame(step);
      this.moved?.(this.time);
    };
    requestAnimationFrame(step);
  }

  pause() {
    if (!this.sources) return;
    this.at = this.time;
    for (const source of this.sources) source.stop();
    this.sources = null;
    this.changed?.();
  }

  seek(at) {
    if (this.sources) this.play(at);
    else this.at = at;
    this.moved?.(at);
  }

  choose(number) {
    this.chosen = number;
    this.volumes?.forEach((volume, n) => volume.gain.setTargetAtTime(n === number ? this.gains[n] : 0, context.currentTime, 0.01));
  }
}

export function silence() {
  playing?.pause();
}

const tokenFacts = tokens => ({ count: tokens.length, share: Math.round((100 * tokens.reduce((sum, token) => sum + token.share, 0)) / tokens.length) });

// The element for waves [{name, wave, file}], of which `file` names the one that may be saved. `followed(seconds)` hears of the cursor,
// null where nothing was played. `tokens`: audio tokens [{at, width, share}] to be drawn under the waveform.
// Its `drawn` is a promise that stays open while the tab is hidden.
export function soundView(tracks, followed = () => {}, tokens = []) {
  const compared = tracks.length > 1;
  const player = new Player(tracks.map(track => track.wave), compared ? matched(tracks[0].wave, tracks[1].wave) : [1]);
  const play = el("button", { type: "button" }, t("play"));
  const time = el("span.time", {}, "");
  const seek = el("input", { type: "range", min: 0, max: player.seconds, step: 0.01, value: 0, "aria-label": t("position") });
  const cursor = el("div.cursor");
  const canvases = [el("canvas"), el("canvas.spectrogram")];
  canvases[0].setAttribute("aria-hidden", "true");
  canvases[1].setAttribute("aria-hidden", "true");
  const strip = tokens.length ? el("canvas.tokens", { role: "img", "aria-label": t("tokens", tokenFacts(tokens)) }) : null;
  const screen = el("div.screen", {}, canvases[0], strip, canvases[1], cursor);
  const choices = compared ? tracks.map((track, n) => el("button", { type: "button", onclick: () => choose(n) }, track.name)) : [];
  const difference = compared && el("button", { type: "button", onclick: () => { differs = !differs; draw(); } }, t("difference"));
  const saved = tracks.filter(track => track.file).map(track => el("button", { type: "button", onclick: () => save(track.file, track.blob ?? wav(track.wave, RATE)) }, t("saveSound")));
  const view = el("div.sound", { role: "group", "aria-label": t("sound") },
    el("div.row", {}, play, ...choices, difference, time, el("span.grow"), ...saved), screen, seek,
    compared && el("p.soft.small", {}, t("compare")), strip && el("p.soft.small", {}, t("tokens", tokenFacts(tokens))));
  let differs = false;
  let finish;
  view.drawn = new Promise(resolve => (finish = resolve));

  function draw() {
    if (!view.isConnected) return;
    drawWave(canvases[0], tracks[player.chosen].wave);
    if (strip) drawTokens(strip, tokens);
    if (differs) drawDifference(canvases[1], tracks[0].wave, tracks[1].wave);
    else drawSpectrogram(canvases[1], tracks[player.chosen].wave);
    finish();
    choices.forEach((choice, n) => choice.setAttribute("aria-pressed", n === player.chosen));
    if (difference) difference.setAttribute("aria-pressed", differs);
  }
  function choose(number) {
    player.choose(number);
    draw();
  }
  player.moved = at => {
    cursor.style.left = `${(100 * at) / player.seconds}%`;
    seek.value = at;
    seek.setAttribute("aria-valuetext", t("seconds", { seconds: at.toFixed(1) }));
    time.textContent = `${clock(at)} / ${clock(player.seconds)}`;
    followed(player.sources || player.at ? at : null);
  };
  player.changed = () => {
    play.textContent = player.sources ? t("pause") : t("play");
  };
  play.onclick = () => (player.sources ? player.pause() : player.play());
  seek.oninput = () => player.seek(Number(seek.value));
  screen.onclick = event => {
    const box = screen.getBoundingClientRect();
    player.seek((player.seconds * (event.clientX - box.left)) / box.width);
  };
  view.toggle = () => play.click();
  view.swap = () => compared && choose(1 - player.chosen);
  view.playFrom = (at, end) => player.play(at, end);
  view.player = player;
  player.moved(0);
  let width = 0;
  new ResizeObserver(() => {
    if (screen.clientWidth !== width) draw();
    width = screen.clientWidth;
  }).observe(screen);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return view;
}
