// Waves as pictures: waveform, spectrogram, and the difference of two spectrograms.

const WINDOW = 512;
const RANGE = 75; // dB that are shown
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
  const peak = Math.max(0.01, wave.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
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
  const loudest = columns.reduce((most, column) => Math.max(most, ...column), -Infinity);
  paint(canvas, columns, COLOURS, value => (value - loudest) / RANGE + 1);
}

// Where the second is louder or quieter than the first, up to 30 dB.
export function drawDifference(canvas, first, second) {
  const width = fit(canvas).canvas.width;
  const [before, after] = [spectra(first, width), spectra(second, width)];
  const floor = before.reduce((most, column) => Math.max(most, ...column), -Infinity) - 60;
  const columns = after.map((column, x) => column.map((value, n) => Math.max(value, floor) - Math.max(before[x]?.[n] ?? floor, floor)));
  paint(canvas, columns, DIFFERENCE, value => value / 60 + 0.5);
}

function paint(canvas, columns, colours, place) {
  const palette = Array.from({ length: 256 }, (_, n) => {
    const at = (n / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    return colours[low].map((value, c) => value + (at - low) * (colours[low + 1][c] - value));
  });
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const picture = context.createImageData(width, height);
  for (let x = 0; x < width; x++) {
    const column = columns[Math.min(columns.length - 1, Math.floor((x * columns.length) / width))];
    for (let y = 0; y < height; y++) {
      const value = column[Math.round(((height - 1 - y) / Math.max(1, height - 1)) * (column.length - 1))];
      const colour = palette[Math.max(0, Math.min(255, Math.round(255 * place(value))))];
      picture.data.set([...colour, 255], 4 * (y * width + x));
    }
  }
  context.putImageData(picture, 0, 0);
}

// At most `width` columns of decibels, from 0 Hz up.
function spectra(wave, width) {
  const hop = Math.max(128, Math.ceil(wave.length / width));
  const hann = Float32Array.from({ length: WINDOW }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / WINDOW));
  const columns = [];
  for (let centre = 0; centre < Math.max(1, wave.length); centre += hop) {
    const [real, imaginary] = [new Float32Array(WINDOW), new Float32Array(WINDOW)];
    for (let n = 0; n < WINDOW; n++) real[n] = hann[n] * (wave[centre - WINDOW / 2 + n] ?? 0);
    transform(real, imaginary);
    columns.push(Array.from({ length: WINDOW / 2 + 1 }, (_, n) => 10 * Math.log10(real[n] ** 2 + imaginary[n] ** 2 + 1e-12)));
  }
  return columns;
}

// The fast Fourier transform, in place.
function transform(real, imaginary) {
  const size = real.length;
  for (let n = 1, reversed = 0; n < size; n++) {
    let bit = size >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (n < reversed) {
      [real[n], real[reversed]] = [real[reversed], real[n]];
      [imaginary[n], imaginary[reversed]] = [imaginary[reversed], imaginary[n]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let offset = 0; offset < half; offset++) {
      const [cosine, sine] = [Math.cos((Math.PI * offset) / half), -Math.sin((Math.PI * offset) / half)];
      for (let low = offset; low < size; low += 2 * half) {
        const high = low + half;
        const [x, y] = [real[high] * cosine - imaginary[high] * sine, real[high] * sine + imaginary[high] * cosine];
        [real[high], imaginary[high]] = [real[low] - x, imaginary[low] - y];
        real[low] += x;
        imaginary[low] += y;
      }
    }
  }
}
