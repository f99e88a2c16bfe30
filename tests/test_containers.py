"""Files whose headers are wrong about their length: each is read to the end of what it holds, and what really ends early says so.

The faults are made here from whole files. The expected sound is what soundfile decodes of the whole ones.
"""

import io
import struct
import warnings

import numpy as np
import pytest
import soundfile
from sounds import RATE, by_av, encoded, fails, noise, tone, with_chunk_size

from lauragpt.audio import decode_audio, load_audio, read_recording, resample, stream_audio
from lauragpt.containers import Source, Span, inspect
from lauragpt.containers.mpeg import parse_header
from lauragpt.containers.ogg import checksum
from lauragpt.errors import LauraWarning


def decoded(data: bytes) -> np.ndarray:
    """The reference: all that soundfile decodes, the mean of the channels, 16 kHz."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:  # soundfile.read seeks first, after which an MP3 differs in its last bits
        wave, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    return resample(wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1), rate)


def read(data: bytes, folder) -> tuple[np.ndarray, bool]:
    """The sound of the bytes, and whether it was cut short; the same whole, streamed in any pieces, and from memory."""
    path = folder / "sound"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recording = read_recording(path)
        assert recording.truncated == any(issubclass(each.category, LauraWarning) for each in caught)
        assert np.array_equal(recording.wave, decode_audio(data))
        for seconds in (0.05, 0.7, 100):
            stream = stream_audio(path, seconds)
            assert np.array_equal(recording.wave, np.concatenate(list(stream))) and stream.truncated == recording.truncated
    if recording.truncated:
        fails(lambda: load_audio(path, strict=True), "sound is cut short or damaged")
    else:
        load_audio(path, strict=True)
    return recording.wave, recording.truncated


def pages(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of each page of an Ogg file."""
    found, at = [], 0
    while at < len(data):
        count = data[at + 26]
        size = 27 + count + sum(data[at + 27 : at + 27 + count])
        found.append((at, at + size))
        at += size
    return found


def without_end_flag(data: bytes) -> bytes:
    start, end = pages(data)[-1]
    page = bytearray(data[start:end])
    page[5] &= ~4
    page[22:26] = bytes(4)
    return data[:start] + bytes(page[:22]) + struct.pack("<I", checksum(bytes(page))) + bytes(page[26:])


def mp3(seconds: float, rate: int = RATE, seed: int = 0, channels: int | None = None, mode: str = "VARIABLE") -> bytes:
    """Half a second of silence, half a second of noise, and so on: bit rates that vary, where they may."""
    sounds = np.arange(int(seconds * rate)) % rate > rate / 2
    loud = noise(seconds, rate, channels, seed) * (sounds if channels is None else sounds[:, None])
    return encoded(loud, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)


def headless(data: bytes) -> bytes:
    """An MP3 as it comes through a pipe: without the frame that says how long it is."""
    at = data.index(b"\xff")
    return data[at + parse_header(data[at : at + 4]).size :]


ORDINARY = [
    ({"format": "WAV"}, RATE, None), ({"format": "WAV", "subtype": "FLOAT"}, 44100, 2), ({"format": "WAV", "subtype": "PCM_24"}, 8000, 6),
    ({"format": "WAVEX"}, 48000, 2), ({"format": "RF64"}, RATE, None), ({"format": "AIFF"}, 22050, None), ({"format": "AU"}, RATE, 2),
    ({"format": "FLAC"}, 44100, 2), ({"format": "OGG", "subtype": "VORBIS"}, 44100, 2), ({"format": "OGG", "subtype": "OPUS"}, 48000, None),
    ({"format": "MP3"}, 44100, 2), ({"format": "MP3", "bitrate_mode": "VARIABLE"}, RATE, None), ({"format": "W64"}, RATE, None),
    ({"format": "WAV", "subtype": "MS_ADPCM"}, RATE, None), ({"format": "WAV", "subtype": "ULAW"}, 8000, None),
]  # fmt: skip


@pytest.mark.parametrize("how, rate, channels", ORDINARY)
def test_ordinary_files_give_the_bits_that_soundfile_and_soxr_give(tmp_path, how, rate, channels):
    data = encoded(noise(2.6, rate, channels), rate, **how)
    wave, truncated = read(data, tmp_path)
    assert np.array_equal(wave, decoded(data)) and not truncated


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_mp3_from_a_pipe_is_read_to_its_end(tmp_path, rate, channels, mode):
    whole = mp3(3.2, rate, channels=channels, mode=mode)
    wave, truncated = read(headless(whole), tmp_path)
    # Without the header the encoder's delay is not left out: 1105 samples at the beginning, and what fills the last frame.
    delay, reference = 1105, soundfile.read(io.BytesIO(whole), dtype="float32", always_2d=True)[0].mean(axis=1)
    assert not truncated and -1 <= len(wave) * rate / RATE - len(reference) - delay <= 2400
    if rate == RATE:
        np.testing.assert_allclose(wave[delay : delay + len(reference)], reference, atol=2e-4)


def test_mp3_that_was_joined_is_read_whole(tmp_path):
    parts = [mp3(1.5), mp3(2.1, seed=1), mp3(1.2, 44100, seed=2, channels=2)]
    wave, truncated = read(b"".join(parts), tmp_path)
    assert not truncated and np.array_equal(wave, np.concatenate([decoded(part) for part in parts]))
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
    wave, truncated = read(tag + parts[0] + b"TAG" + bytes(125) + tag + parts[1], tmp_path)
    assert not truncated and np.array_equal(wave, np.concatenate([decoded(part) for part in parts[:2]]))


def test_mp3_whose_header_counts_only_its_first_part(tmp_path):
    first, second = mp3(1.5), mp3(2.1, seed=1)
    wave, truncated = read(first + headless(second), tmp_path)
    assert not truncated and 3.6 * RATE <= len(wave) < 3.9 * RATE
    assert np.abs(wave[-RATE // 2 :]).max() > 0.2  # the end of the second part


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_mp3_that_ends_early(tmp_path, share, mode):
    whole = mp3(4, mode=mode)
    wave, truncated = read(whole[: int(share * len(whole))], tmp_path)
    reference = decoded(whole)
    assert truncated and len(wave) < len(reference)
    settled = len(wave) - 1200  # what the frame after the last would have changed
    np.testing.assert_allclose(wave[:settled], reference[:settled], atol=1e-4)


def test_mp3_and_gsm_in_wav(tmp_path):
    inner = mp3(2.5)
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, 144, 1, 0)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(inner)) + inner
    wave, truncated = read(b"RIFF" + struct.pack("<I", len(body)) + body, tmp_path)
    assert not truncated and np.array_equal(wave, decoded(inner))
    gsm = encoded(tone(2.88, 8000), 8000, format="WAV", subtype="GSM610")
    wave, truncated = read(gsm, tmp_path)
    with soundfile.SoundFile(io.BytesIO(gsm)) as file:
        reference = resample(file.read(file.frames, dtype="float32"), 8000)
    assert not truncated and np.array_equal(wave, reference) and len(wave) >= 2.88 * RATE - 1


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_one_behind_the_other(tmp_path, subtype):
    parts = [
        encoded(noise(1.3), format="OGG", subtype=subtype), encoded(noise(2.2, 48000, 2, 1), 48000, format="OGG", subtype="OPUS"),
        encoded(noise(0.9, 22050, None, 2), 22050, format="OGG", subtype="VORBIS"),
    ]  # fmt: skip
    wave, truncated = read(b"".join(parts), tmp_path)
    assert not truncated and np.array_equal(wave, np.concatenate([decoded(part) for part in parts]))
    same = parts[0] + parts[0]  # with the same serial number
    assert np.array_equal(read(same, tmp_path)[0], np.tile(decoded(parts[0]), 2))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_without_an_end_flag_is_whole(tmp_path, subtype):
    data = encoded(noise(2.5), format="OGG", subtype=subtype)
    wave, truncated = read(without_end_flag(data), tmp_path)
    reference = decoded(data)
    assert not truncated and len(reference) <= len(wave) <= len(reference) + 0.1 * RATE  # what fills the last packet is not cut off
    np.testing.assert_allclose(wave[: len(reference)], reference, atol=1e-4)
    chained, truncated = read(without_end_flag(data) + data, tmp_path)
    assert not truncated and np.array_equal(chained, np.concatenate([wave, reference]))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_that_ends_early_is_read_to_its_last_packet(tmp_path, subtype):
    data = encoded(noise(6), format="OGG", subtype=subtype)
    for share in (0.5, 0.9):
        cut = int(share * len(data))
        wave, truncated = read(data[:cut], tmp_path)
        ends = [(end, struct.unpack_from("<q", data, start + 6)[0]) for start, end in pages(data)]
        before, after = max(g for end, g in ends if end <= cut), min(g for end, g in ends if end > cut)
        scale = 3 if subtype == "OPUS" else 1  # Opus counts at 48 kHz, with 312 samples that are not played
        assert truncated and before / scale - 104 < len(wave) < after / scale
        assert len(wave) > before / scale + 0.5 * (cut - max(end for end, _ in ends if end <= cut)) / len(data) * 6 * RATE - 1000
        settled = len(wave) - RATE // 10
        np.testing.assert_allclose(wave[:settled], decoded(data)[:settled], atol=1e-3)


def test_a_damaged_ogg_page_is_noticed(tmp_path):
    data = bytearray(encoded(noise(6), format="OGG", subtype="OPUS"))
    start, end = pages(bytes(data))[4]
    data[(start + end) // 2] ^= 255
    wave, truncated = read(bytes(data), tmp_path)
    assert truncated and len(wave) > 4 * RATE


def test_checksums_of_ogg_pages():
    data = encoded(noise(2), format="OGG", subtype="VORBIS")

    def slow(page: bytes) -> int:
        value = 0
        for byte in page:
            value ^= byte << 24
            for _ in range(8):
                value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
        return value

    for start, end in pages(data):
        page = data[start : start + 22] + bytes(4) + data[start + 26 : end]
        assert checksum(page) == slow(page) == struct.unpack_from("<I", data, start + 22)[0]


def test_flac_of_unknown_length_joined_and_cut(tmp_path):
    first, second = encoded(noise(2.5), format="FLAC"), encoded(noise(1.2, 44100, 2, 1), 44100, format="FLAC")
    unknown = bytearray(first)
    unknown[21] &= 0xF0  # STREAMINFO's count of samples: 36 bits
    unknown[22:26] = bytes(4)
    wave, truncated = read(bytes(unknown), tmp_path)
    assert not truncated and np.array_equal(wave, decoded(first))
    wave, truncated = read(first + second, tmp_path)
    assert not truncated and np.array_equal(wave, np.concatenate([decoded(first), decoded(second)]))
    wave, truncated = read(first[: len(first) // 2], tmp_path)
    assert truncated and len(wave) > RATE and np.array_equal(wave, decoded(first)[: len(wave)])
    wave, truncated = read(first[: len(first) // 2] + second, tmp_path)
    assert truncated and np.array_equal(wave[-len(decoded(second)) :], decoded(second))


PLACEHOLDERS = [0, 0xFFFFFFFF, 0x7FFFF000 + 36, 0x7FFFFFFF, 0x80000000, 2_000_000_000, 0xFFFFFFFF - 36]


@pytest.mark.parametrize("size", PLACEHOLDERS)
@pytest.mark.parametrize("how", [{"format": "WAV"}, {"format": "WAVEX"}, {"format": "WAV", "subtype": "FLOAT"}])
def test_wav_from_a_pipe_that_does_not_know_its_length_is_whole(tmp_path, size, how):
    data = encoded(noise(1.7, channels=2), **how)
    for riff in (size, len(data) - 8, min(size + 36, 0xFFFFFFFF)):
        unknown = with_chunk_size(with_chunk_size(data, b"data", size), b"RIFF", riff)
        wave, truncated = read(unknown, tmp_path)
        assert not truncated and np.array_equal(wave, decoded(data))


def test_other_files_from_a_pipe_that_do_not_know_their_length_are_whole(tmp_path):
    wave = noise(1.7)
    aiff, au, rf64, w64 = (encoded(wave, format=name, subtype="PCM_16") for name in ("AIFF", "AU", "RF64", "W64"))
    bwf = encoded(wave, format="WAV")
    bwf = bwf[:12] + b"bext" + struct.pack("<I", 602) + bytes(602) + bwf[12:]
    long = rf64.index(b"ds64")
    aiff = with_chunk_size(with_chunk_size(aiff, b"SSND", 0, ">I"), b"FORM", 0, ">I")
    unknown = [
        with_chunk_size(aiff, b"COMM\x00\x00\x00\x12\x00\x01", 0, ">I"),
        with_chunk_size(au, au[:8], 0xFFFFFFFF, ">I"), with_chunk_size(bwf, b"data", 0), with_chunk_size(bwf, b"data", 0xFFFFFFFF),
        rf64[: long + 16] + bytes(8) + rf64[long + 24 :], with_chunk_size(rf64, b"data", 0),
        with_chunk_size(w64, b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", 24, "<Q"),
    ]  # fmt: skip
    for data in unknown:
        sound, truncated = read(data, tmp_path)
        assert not truncated and np.array_equal(sound, decoded(bwf)), data[:4]


def test_aiff_of_12_bits_that_does_not_know_its_length():
    data = encoded(noise(1.7), format="AIFF", subtype="PCM_16")
    common = data.index(b"COMM")
    data = data[: common + 14] + struct.pack(">h", 12) + data[common + 16 :]
    unknown = with_chunk_size(with_chunk_size(data, b"SSND", 0, ">I"), b"COMM\x00\x00\x00\x12\x00\x01", 0, ">I")
    assert np.array_equal(decode_audio(unknown), decoded(data)) and len(decoded(data)) == 1.7 * RATE


@pytest.mark.parametrize("begin", [0, 4, 11])
def test_au_whose_samples_begin_inside_its_header_is_damaged(begin):
    data = with_chunk_size(encoded(noise(1.7), format="AU"), b".snd", begin, ">I")
    contents = inspect(Source(data))
    assert contents.truncated and [link.file.seek(0, io.SEEK_END) for link in contents.links] == [len(data)]


@pytest.mark.parametrize("name", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "W64"])
def test_files_of_chunks_that_end_early_or_were_joined(tmp_path, name):
    data = encoded(noise(1.7), format=name, subtype="PCM_16")
    wave, truncated = read(data[:-8000], tmp_path)
    assert truncated and len(wave) == 1.7 * RATE - 4000 and np.array_equal(wave, decoded(data)[: len(wave)])
    wave, truncated = read(data[:-2], tmp_path)  # one sample less than it promises
    assert truncated and len(wave) == 1.7 * RATE - 1
    wave, truncated = read(data + data, tmp_path)
    assert not truncated and np.array_equal(wave, np.tile(decoded(data), 2))


def test_a_wav_with_nothing_in_it_is_empty_whatever_stands_behind():
    empty = encoded(np.zeros(0, np.float32), format="WAV")
    for data in (empty, empty + b"LIST\x04\x00\x00\x00INFO"):
        fails(lambda data=data: decode_audio(data), "no samples")
    fails(lambda: decode_audio(empty[:30], "talk"), "talk is cut short", "before its first sample")


@pytest.mark.parametrize(
    "container, codec, rate, options",
    [
        ("ipod", "aac", 44100, {}), ("mp4", "aac", 48000, {"movflags": "frag_keyframe+empty_moov"}), ("webm", "libopus", 48000, {}),
        ("matroska", "flac", 16000, {}), ("amr", "libopencore_amrnb", 8000, {}), ("adts", "aac", 16000, {}), ("mpegts", "aac", 44100, {}),
        ("asf", "wmav2", 44100, {}), ("wv", "wavpack", 16000, {}), ("avi", "pcm_s16le", 16000, {}),
    ],
)  # fmt: skip
def test_what_only_ffmpegs_libraries_read(tmp_path, container, codec, rate, options):
    wave, truncated = read(by_av(tone(2.5, rate), rate, container, codec, **options), tmp_path)
    assert not truncated and 2.45 * RATE <= len(wave) <= 2.65 * RATE
    spectrum = np.abs(np.fft.rfft(wave))
    assert spectrum.argmax() * RATE / len(wave) == pytest.approx(440, abs=2) and 0.25 < wave[RATE // 4 : 2 * RATE].std() < 0.45


def test_a_film_that_ends_early_and_one_without_sound(tmp_path):
    data = by_av(tone(20, 48000), 48000, "webm", "libopus")
    wave, truncated = read(data[: len(data) * 2 // 3], tmp_path)
    assert truncated and 9 * RATE < len(wave) < 16 * RATE
    film = by_av(tone(2, 44100), 44100, "mp4", "aac")
    fails(lambda: decode_audio(film[:5000], "film"), "film cannot be read", "damaged or cut short")

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as sink:
        stream = sink.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        sink.mux(stream.encode(None))
    fails(lambda: decode_audio(file.getvalue(), "film"), "film holds no sound, only video")


def test_without_pyav_the_refusal_says_how_to_get_it_and_how_to_convert(monkeypatch):
    data = by_av(tone(1, 44100), 44100, "ipod", "aac")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    fails(lambda: decode_audio(data, "memo.m4a"), "memo.m4a cannot be read: MP4", "pip install av", "ffmpeg -i memo.m4a")
    fails(lambda: decode_audio(b"this is not sound" * 10, "talk.txt"), "talk.txt is not audio")


def test_random_bytes_are_refused_and_never_crash():
    rng = np.random.default_rng(0)
    samples = [encoded(noise(1), format=name) for name in ("WAV", "FLAC", "AIFF", "MP3")]
    samples.append(encoded(noise(1), format="OGG", subtype="VORBIS"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LauraWarning)
        for number in range(120):
            data = bytearray(samples[number % len(samples)])
            for at in rng.integers(0, min(len(data), 400), 6):
                data[at] = rng.integers(256)
            try:
                wave = decode_audio(bytes(data))
            except Exception as error:
                assert type(error).__name__ == "LauraError" and "\n" not in str(error)
            else:
                assert np.isfinite(wave).all()


def test_parts_of_a_source_as_one_file():
    data = bytes(range(256)) * 8
    source, parts = Source(io.BytesIO(data)), [(10, 300), b"between", (300, 301), (301, 1000), (5, 6)]
    span, whole = Span(source, parts), data[10:300] + b"between" + data[300:1000] + data[5:6]
    assert span.read() == whole and span.seek(0, io.SEEK_END) == len(whole)
    for at, count in ((0, 5), (285, 20), (290, 3), (len(whole) - 3, 100)):
        span.seek(at)
        assert span.read(count) == whole[at : at + count]
    assert [source.find(b"\xff\x00", start) for start in (0, 256, 2040)] == [255, 511, -1]


def test_an_mp3_that_is_counted_by_its_frames():
    contents = inspect(Source(mp3(3)))
    assert contents.kind == "MP3" and len(contents.links) == 1 and contents.links[0].exact
    assert parse_header(b"\xff\xfb\x90\x64").size == 417 and parse_header(b"\xff\xfb\x92\x64").size == 418  # 128 kbit/s, 44.1 kHz
    assert [parse_header(head) for head in (b"\xff\xf1\x50\x80", b"\xff\xfb\xf0\x64", b"\xff\xfb", b"RIFF")] == [None] * 4
