// Answers as files: subtitles, tables, archives.

const [WIDTH, LINES, SECONDS, PAUSE] = [42, 2, 7, 1.5]; // as lauragpt/subtitles.py

// Words [{word, start, end}] -> cues [{start, end, lines}] that fit a screen.
export function cues(words) {
  const made = [];
  let open = [];
  const close = () => {
    if (open.length) made.push({ start: open[0].start, end: open.at(-1).end, lines: lines(open) });
    open = [];
  };
  for (const word of words) {
    const last = open.at(-1);
    if (last && (lines([...open, word]).length > LINES || word.end - open[0].start > SECONDS || word.start - last.end > PAUSE)) close();
    open.push(word);
  }
  close();
  return made;
}

function lines(words) {
  const broken = [""];
  for (const { word } of words) {
    const longer = `${broken.at(-1)} ${word}`.trim();
    if (longer.length <= WIDTH || !broken.at(-1)) broken[broken.length - 1] = longer;
    else broken.push(word);
  }
  return broken;
}

function stamp(seconds, comma) {
  const total = Math.round(seconds * 1000);
  const parts = [3_600_000, 60_000, 1000].map((unit, n) => String(Math.floor(total / unit) % [1000, 60, 60][n]).padStart(2, "0"));
  return `${parts.join(":")}${comma}${String(total % 1000).padStart(3, "0")}`;
}

export const srt = words =>
  cues(words).map((cue, n) => `${n + 1}\n${stamp(cue.start, ",")} --> ${stamp(cue.end, ",")}\n${cue.lines.join("\n")}\n`).join("\n");

export const vtt = words =>
  ["WEBVTT\n", ...cues(words).map(cue => `${stamp(cue.start, ".")} --> ${stamp(cue.end, ".")}\n${escaped(cue.lines.join("\n"))}\n`)].join("\n");

const escaped = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Rows of texts and numbers. A cell that a spreadsheet would take for a formula is led by an apostrophe.
export function csv(rows) {
  const cell = value => {
    const text = String(value ?? "");
    const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  return rows.map(row => `${row.map(cell).join(",")}\r\n`).join("");
}

// A zip archive, not compressed, of files [{name, text}].
export function zip(files) {
  const [parts, entries] = [[], []];
  let [offset, size] = [0, 0];
  for (const { name, text } of files) {
    const [path, data] = [new TextEncoder().encode(name), new TextEncoder().encode(text)];
    // version, flags (names are UTF-8), method, time, date, sum, sizes, lengths of name and rest
    const about = [[20, 2], [0x800, 2], [0, 2], [0, 2], [0x21, 2], [checksum(data), 4], [data.length, 4], [data.length, 4], [path.length, 2], [0, 2]];
    const local = fields([[0x04034b50, 4], ...about]);
    entries.push(fields([[0x02014b50, 4], [20, 2], ...about, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), path);
    parts.push(local, path, data);
    offset += local.length + path.length + data.length;
  }
  size = entries.reduce((sum, entry) => sum + entry.length, 0);
  const end = fields([[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...entries, end], { type: "application/zip" });
}

const fields = values => Uint8Array.from(values.flatMap(([value, bytes]) => Array.from({ length: bytes }, (_, n) => (value >>> (8 * n)) & 255)));

function checksum(data) {
  let sum = ~0;
  for (const byte of data) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
