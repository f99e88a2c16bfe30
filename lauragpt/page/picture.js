// Waves as pictures: waveform, spectrogram, and the difference of two spectrograms.
//
// No array is made for each sample or pixel: collecting them takes longer than all else, most of all beside a server at work.

const WINDOW = 512;
const RANGE = 75; // dB that are shown
const HANN = Float32Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
const COSINES = Float64Array.from({ length: WINDOW / 2 }, (_, n) => Math.cos((2 * Math.PI * n) / WINDOW));
const SINES = Float64Array.from({ length: WINDOW / 2 }, (_, n) => -Math.sin((2 * Math.PI * n) / WINDOW));
const REVERSED = new Uint16Array(WINDOW); // the bits of n from the last to the first
for (let n = 1; n < WINDOW; n++) REVERSED[n] = (REVERSED[n >> 1] >> 1) | (((n & 1) * WINDOW) / 2);
// As evaluate/report/figures.py draws them: even steps of lightness, so that it also works in grey.
const COLOURS = [[8, 6, 28], [52, 16, 94], [124, 32, 120], [196, 60, 100], [246, 126, 84], [254, 204, 130], [252, 250, 214]];
// Quieter is blue, louder orange, the same dark.
const DIFFERENCE = [[120, 200, 255], [40, 90, 160], [14, 12, 26], [160, 80, 30], [255, 190, 110]];

function fit(canvas) {
  const scale = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return canvas.getContext("2d");
}

export function drawWave(canvas, wave) {
  const context = fit(canvas);
  const { width, height } = canvas;
  let peak = 0.01;
  for (let n = 0; n < wave.length; n++) peak = Math.max(peak, Math.abs(wave[n]));
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  for (let x = 0; x < width; x++) {
    const end = Math.max(Math.floor((x * wave.length) / width) + 1, Math.floor(((x + 1) * wave.length) / width));
    let [low, high] = [0, 0];
    for (let n = Math.floor((x * wave.length) / width); n < Math.min(end, wave.length); n++) {
      if (wave[n] < low) low = wave[n];
      else if (wave[n] > high) high = wave[n];
    }
    const top = (0.5 - (0.46 * high) / peak) * height;
    context.fillRect(x, top, 1, Math.max(1, (0.5 - (0.46 * low) / peak) * height - top));
  }
}

// Audio tokens [{at, width, share}] as bars: the taller and the greener, the surer the model was.
export function drawTokens(canvas, tokens) {
  const context = fit(canvas);
  const { width, height } = canvas;
  const colours = ["--off", "--partly", "--ok"].map(name => getComputedStyle(canvas).getPropertyValue(name));
  for (const token of tokens) {
    context.fillStyle = colours[token.share < 1 / 3 ? 0 : token.share < 2 / 3 ? 1 : 2];
    const [left, tall] = [Math.round(token.at * width), Math.max(2, token.share * height)];
    context.fillRect(left, height - tall, Math.max(1, Math.round((token.at + token.width) * width) - left - (token.width * width > 3 ? 1 : 0)), tall);
  }
}

export function drawSpectrogram(canvas, wave) {
  const columns = spectra(wave, fit(canvas).canvas.width);
  const most = loudest(columns);
  paint(canvas, columns, COLOURS, value => (value - most) / RANGE + 1);
}

// Where the second is louder or quieter than the first, up to 30 dB.
export function drawDifference(canvas, first, second) {
  const width = fit(canvas).canvas.width;
  const [before, after] = [spectra(first, width), spectra(second, width)];
  const floor = loudest(before) - 60;
  const columns = after.map((column, x) => column.map((value, n) => Math.max(value, floor) - Math.max(before[x]?.[n] ?? floor, floor)));
  paint(canvas, columns, DIFFERENCE, value => value / 60 + 0.5);
}

function loudest(columns) {
  let most = -Infinity;
  for (const column of columns) for (let n = 0; n < column.length; n++) if (column[n] > most) most = column[n];
  return most;
}

function paint(canvas, columns, colours, place) {
  const palette = paletteOf(colours);
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  const rows = Uint16Array.from({ length: height }, (_, y) => Math.round(((height - 1 - y) / Math.max(1, height - 1)) * (WINDOW / 2)));
  for (let x = 0; x < width; x++) {
    const column = columns[Math.min(columns.length - 1, Math.floor((x * columns.length) / width))];
    for (let y = 0; y < height; y++) pixels[y * width + x] = palette[Math.max(0, Math.min(255, Math.round(255 * place(column[rows[y]]))))];
  }
  context.putImageData(picture, 0, 0);
}

// 256 pixels from the first colour to the last.
function paletteOf(colours) {
  const bytes = Uint8ClampedArray.from({ length: 4 * 256 }, (_, n) => {
    const at = (Math.floor(n / 4) / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    const [from, to] = [colours[low][n % 4] ?? 255, colours[low + 1][n % 4] ?? 255]; // the fourth is how opaque it is
    return from + (at - low) * (to - from);
  });
  return new Uint32Array(bytes.buffer);
}

// At most `width` columns of decibels, from 0 Hz up.
function spectra(wave, width) {
  const hop = Math.max(128, Math.ceil(wave.length / width));
  const [real, imaginary] = [new Float32Array(WINDOW), new Float32Array(WINDOW)];
  const columns = [];
  for (let centre = 0; centre < Math.max(1, wave.length); centre += hop) {
    for (let n = 0; n < WINDOW; n++) real[REVERSED[n]] = HANN[n] * (wave[centre - WINDOW / 2 + n] ?? 0);
    imaginary.fill(0);
    transform(real, imaginary);
    const column = new Float64Array(WINDOW / 2 + 1);
    for (let n = 0; n < column.length; n++) column[n] = 10 * Math.log10(real[n] * real[n] + imaginary[n] * imaginary[n] + 1e-12);
    columns.push(column);
  }
  return columns;
}

// The fast Fourier transform in place, of samples that stand where REVERSED says.
function transform(real, imaginary) {
  for (let half = 1; half < WINDOW; half *= 2) {
    for (let offset = 0; offset < half; offset++) {
      const turn = (offset * WINDOW) / 2 / half;
      const cosine = COSINES[turn];
      const sine = SINES[turn];
      for (let low = offset; low < WINDOW; low += 2 * half) {
        const high = low + half;
        const x = real[high] * cosine - imaginary[high] * sine;
        const y = real[high] * sine + imaginary[high] * cosine;
        real[high] = real[low] - x;
        imaginary[high] = imaginary[low] - y;
        real[low] += x;
        imaginary[low] += y;
      }
    }
  }
}
