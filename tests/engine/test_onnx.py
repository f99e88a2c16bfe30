"""The backend on ONNX Runtime beside PyTorch's: the same numbers, the same answers, alone and in any batch."""

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lauragpt.codec import CODEC_PRESETS
from lauragpt.codec.spectral import SpectralConfig
from lauragpt.ctc import CtcAligner
from lauragpt.engine import onnx_backend
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import TextCondition
from lauragpt.engine.decoding import decode
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.engine.onnx_weights import pack
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.2 * np.sin(2 * np.pi * (180 + 60 * seed + 90 * time) * time) + 0.02 * noise).astype(np.float32)


WAVES = [sound(1.3), sound(0.1, 1), sound(2.77, 2), sound(0.5, 3)]


@pytest.fixture(scope="module")
def exported(debug_checkpoint, tmp_path_factory):
    """The debug checkpoint with a spectral codec and its graphs, weights as floats."""
    folder = tmp_path_factory.mktemp("onnx") / "debug"
    shutil.copytree(debug_checkpoint, folder)
    config = PRESETS["debug"]
    codec = replace(CODEC_PRESETS["mini"], quantizer=config.codec.quantizer, spectral=SpectralConfig(channels=32, fine_channels=24))
    torch.manual_seed(0)
    save_checkpoint(LauraModel(replace(config, codec=codec)), folder)
    export_graphs(folder, bits=32)
    return folder


@pytest.fixture(scope="module")
def both(exported):
    return Laura.load(exported, backend="onnx"), Laura.load(exported, backend="torch")


def close(got: list[np.ndarray], wanted: list[np.ndarray], tolerance: float = 1e-4) -> None:
    assert [row.shape for row in got] == [row.shape for row in wanted]
    assert max(float(np.abs(a - b).max()) for a, b in zip(got, wanted, strict=True)) < tolerance


@pytest.fixture(params=[onnx_backend.PLACES, 60])
def places(request, monkeypatch):
    """Rows read all at once, or a few at a time."""
    monkeypatch.setattr(onnx_backend, "PLACES", request.param)


def test_rows_are_read_in_parts_that_are_not_too_large():
    lengths = [33, 3, 69, 13, 90, 20, 20, 20]
    cut = onnx_backend.parts(lengths, 60)
    assert [lengths[part] for part in cut] == [[33], [3], [69], [13], [90], [20, 20, 20]]
    assert onnx_backend.parts(lengths, 10_000) == [slice(0, 8)]


def test_listening_is_the_same(both, places):
    got, wanted = (laura.runtime.backend.encode(WAVES) for laura in both)
    assert got.lengths.tolist() == wanted.lengths.tolist()
    for row, length in enumerate(got.lengths):
        one, other = ([each.embeddings[row, :length], each.ctc_log_probs[row, :length]] for each in (got, wanted))
        close(one, other, 1e-3)


def test_no_weight_of_attention_is_asked_whether_it_is_a_number(exported):
    """It takes a tenth of the time in which the encoder listens."""
    for path in (exported / "onnx").glob("*.onnx"):
        assert "IsNaN" not in {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}, path.name


def test_sequences_in_progress_are_the_same(both, places):
    """Prefill of uneven rows, tokens one by one and several at once, rollback, rows dropped and named twice."""
    vocabulary, logits = both[0].runtime.vocabulary, []
    for laura in both:
        backend, found = laura.runtime.backend, []
        encoded = backend.encode(WAVES)
        start = [vocabulary.task("asr"), vocabulary.lang("en")]
        session = backend.open(encoded, [start, start[:1], [*start, 7, 8, 9], start])
        found.append(session.logits)
        for step in range(70):  # over the end of what the cache began with
            session.extend(np.array([[step], [2 * step], [vocabulary.text_size + step], [5]]))
        found.append(session.logits)
        session.rollback(session.lengths - np.array([1, 70, 3, 0]))
        found.append(session.extend(np.arange(12).reshape(4, 3)))
        session.select([2, 0, 2])
        assert session.lengths.tolist() == session.lengths[[0, 1, 0]].tolist()
        found.append(session.extend(np.array([[4, 5], [6, 7], [4, 5]])))
        logits.append(found)
    close(*logits)


def test_what_is_written_down_stands_when_it_is_said_in_both(both):
    """Aligners through steps of one and of several letters, rollback, rows dropped and named twice: logits as when all is read at once."""
    found = []
    letters = both[0].runtime.tokenizer.encode("abc abd", letters=True)
    aligners = [CtcAligner(letters, [2.0, 3.0, 7.0, 9.0, 11.0, 12.0, 20.0]), CtcAligner([], []), CtcAligner(letters[:2], [4.0, 6.0])]
    for laura in both:
        vocabulary, backend = laura.runtime.vocabulary, laura.runtime.backend
        encoded, start = backend.encode(WAVES[:3]), [vocabulary.task("asr"), vocabulary.lang("en")]
        session = backend.open(encoded, [start] * 3, aligners=[aligner.copy() for aligner in aligners])
        session.extend(np.array([letters[:3]] * 3))
        session.rollback(session.lengths - np.array([1, 2, 0]))
        session.select([2, 0, 1, 0])
        logits = session.extend(np.array([letters[2:4], letters[4:6], letters[1:3], letters[2:4]]))
        found.append(logits)
        wanted = [
            (2, [*letters[:3], *letters[2:4]]), (0, [*letters[:2], *letters[4:6]]), (1, [*letters[:1], *letters[1:3]]), (0, letters[:4]),
        ]  # fmt: skip
        for row, (which, written) in enumerate(wanted):
            [alone] = backend.open(encoded.rows([which]), [start], aligners=[aligners[which].copy()]).extend(np.array([written]))
            close([logits[row]], [alone[-2:]], 1e-3)
        plain = backend.open(encoded.rows([0]), [start]).extend(np.array([letters[:4]]))
        assert np.abs(plain[0, -2:] - logits[3]).max() > 1e-3
    close(*found, tolerance=1e-3)


def test_speaking_cleaning_and_the_codec_are_the_same(both, places):
    size, K = both[0].runtime.vocabulary.audio_size, both[0].runtime.backend.codec_levels
    rng = np.random.default_rng(0)
    tokens = [rng.integers(size, size=n) for n in (40, 3, 70, 13)]
    codes = [rng.integers(size, size=(k, n)) for k, n in ((K, 40), (K, 3), (1, 9))]
    found = []
    for laura in both:
        backend = laura.runtime.backend
        found.append([
            *backend.vocode(tokens, noisy=[sound(len(t) / 25, i) for i, t in enumerate(tokens)]),
            *backend.vocode(
                tokens,
                text=[TextCondition([5, 6, 7]), TextCondition([8], 2.5), TextCondition([9] * 20, 0.7), TextCondition([1, 2])],
                prompt=[sound(1.0), None, sound(0.3), None],
            ),
            *backend.vocode(tokens[:2], text=[TextCondition([5]), TextCondition([6])]),
            *backend.codec_decode(codes),
            *backend.codec_encode(WAVES),
        ])  # fmt: skip
    close(*found)


@pytest.mark.parametrize("verb", ["transcribe", "caption", "emotion", "understand", "enhance"])
def test_answers_are_the_same(both, verb):
    for got, wanted in zip(*(getattr(laura, verb)(WAVES[:1] + WAVES[2:]) for laura in both), strict=True):
        assert (got.text, got.lang) == (wanted.text, wanted.lang)
        if got.audio is not None:
            close([got.audio], [wanted.audio], 1e-3)


def test_said_the_same_in_a_voice_and_in_anothers(both):
    got, wanted = (laura.speak(["Good morning.", "A dog runs."], lang="en", seed=3) for laura in both)
    close([result.audio for result in got], [result.audio for result in wanted], 1e-3)


def test_codes_and_sound_in_pieces_are_those_of_the_whole(both):
    backend, wave = both[0].runtime.backend, sound(2.5)
    codes = np.concatenate(list(backend.codec_encode_stream(wave[k : k + 3000] for k in range(0, len(wave), 3000))), axis=1)
    assert np.array_equal(codes, backend.codec_encode([wave])[0])
    said = np.concatenate(list(backend.codec_decode_stream(codes[:, k : k + 9] for k in range(0, codes.shape[1], 9))))
    close([said], backend.codec_decode([codes]))


def test_eight_bits_are_near_and_a_row_never_depends_on_its_batch(exported, both, tmp_path):
    shutil.copytree(exported, tmp_path / "eight")
    export_graphs(tmp_path / "eight", bits=8, only=("step",))
    backend, other = Laura.load(tmp_path / "eight").runtime.backend, both[0].runtime.backend
    rows = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
    together, wanted = backend.open(None, rows), other.open(None, rows)
    assert np.abs(together.logits - wanted.logits).max() < 0.1 * np.abs(wanted.logits).max()
    for row, ids in enumerate(rows):
        alone = backend.open(None, [ids])
        np.testing.assert_allclose(alone.logits[0], together.logits[row], atol=1e-5)


def test_blocks_of_eight_bits_hold_a_matrix():
    weight = np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32)
    weight[2, 32:64] = 0
    packed, scales = pack(weight)
    assert packed.shape == (5, 3, 32) and packed.dtype == np.uint8 and scales.shape == (5, 3)
    back = ((packed.astype(np.float32) - 128) * scales[..., None]).reshape(5, 96)
    assert np.abs(back - weight).max() <= 0.5 * scales.max() + 1e-6


def test_the_weights_are_not_stored_twice(exported):
    graphs = sum(path.stat().st_size for path in (exported / "onnx").iterdir())
    assert graphs < 4_000_000  # most of it are the two matrices of the Fourier transform
    assert not any(b"/site-packages/" in path.read_bytes() for path in (exported / "onnx").glob("*.onnx"))


@pytest.mark.parametrize("which", ["debug", "mini"])
def test_no_torch_is_needed(exported, which):
    code = f"""
import sys
sys.modules["torch"] = None  # as where it is not installed
from lauragpt import Laura
import numpy as np
laura = Laura.load({str(exported) if which == "debug" else "mini"!r})
laura.transcribe(np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1)
print(laura.speak("Good day.", lang="en").audio.shape[0] > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize("verb", ["train", "eval", "export", "transcribe"])
def test_what_needs_torch_says_so_where_it_is_missing(debug_checkpoint, verb, tmp_path):
    arguments = {
        "train": ["recipes/debug.yaml"], "eval": [str(debug_checkpoint), "--data", str(tmp_path)], "export": [str(debug_checkpoint)],
        "transcribe": [str(Path(__file__)), "--model", str(debug_checkpoint)],
    }[verb]  # fmt: skip
    code = f"import sys; sys.modules['torch'] = None; sys.argv = {['laura', verb, *arguments]!r}; from lauragpt.cli.app import app; app()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install -e '.[train]'" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("about, lacking", [
    ("processor: 0\nflags\t\t: fpu sse4_2 avx2 fma\n", ""), ("processor: 0\nflags\t\t: fpu sse4_2 avx\n", "avx2"),
    ("Features\t: fp asimd asimddp\n", ""), ("Features\t: fp asimd\n", "asimddp"), ("", ""),
])  # fmt: skip
def test_a_processor_without_eight_bit_products_is_told(exported, tmp_path, monkeypatch, about, lacking):
    folder = shutil.copytree(exported, tmp_path / "copy")
    graphs = json.loads((folder / "onnx" / "graphs.json").read_text())
    (folder / "onnx" / "graphs.json").write_text(json.dumps(graphs | {"bits": 8}))
    monkeypatch.setattr(onnx_backend, "processor", lambda: about)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Laura.load(folder)
    assert [f"lacks {lacking}:" in str(warning.message) for warning in told] == [True] * bool(lacking)


def test_what_was_altered_or_is_missing_is_told(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    path = folder / "onnx" / "listen.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(LauraError, match=r"listen\.onnx is not the file that was exported.*laura export"):
        Laura.load(folder).transcribe(WAVES[0])
    path.unlink()
    with pytest.raises(LauraError, match=r"listen\.onnx is missing"):
        Laura.load(folder).transcribe(WAVES[0])
    about = json.loads((folder / "onnx" / "graphs.json").read_text())
    (folder / "onnx" / "graphs.json").write_text(json.dumps(about | {"weights": "0"}))
    with pytest.raises(LauraError, match=r"are not those that were exported"):
        Laura.load(folder)
    (folder / "onnx" / "graphs.json").write_text("{")
    with pytest.raises(LauraError, match=r"graphs\.json cannot be read"):
        Laura.load(folder)
    shutil.rmtree(folder / "onnx")
    with pytest.raises(LauraError, match=r"has no onnx/ folder: `laura export` makes it"):
        Laura.load(folder, backend="onnx")
    assert Laura.load(folder).runtime.backend.__class__.__name__ == "TorchBackend"


def test_compiled_layers_write_the_same(exported, both):
    compiled = Laura.load(exported, backend="torch", compile=True)
    assert all(layer._compiled_call_impl is not None for layer in compiled.runtime.backend.model.gpt.layers)
    for ask in (lambda laura: laura.transcribe(WAVES, lang="en"), lambda laura: laura.translate(text=["a dog runs", "two men"], to="de")):
        assert [answer.text for answer in ask(compiled)] == [answer.text for answer in ask(both[1])]
    with pytest.raises(LauraError, match="compile is for the torch backend"):
        Laura.load(exported, compile=True)


def test_a_backend_that_is_none_is_refused(exported):
    with pytest.raises(LauraError, match="choose onnx or torch"):
        Laura.load(exported, backend="jax")
    with pytest.raises(LauraError, match="computes on the CPU"):
        Laura.load(exported, backend="onnx", device="cuda")


@pytest.mark.parametrize("which", [0, 1])
def test_speech_comes_in_pieces_that_are_the_whole(both, which):
    laura = both[which]
    for text, voice in (("Good morning. How are you, then?", None), ("Yes.", sound(1.2))):
        more = {"voice": voice, "voice_text": "a tone"} if voice is not None else {}
        pieces = list(laura.speak_stream(text, lang="en", seed=3, **more))
        whole = laura.speak(text, lang="en", seed=3, **more)
        assert len(pieces) > 2 and whole.receipt["finish"] != "guard"
        close([np.concatenate(pieces)], [whole.audio])
    with pytest.raises(LauraError, match="nothing to say"):
        laura.speak_stream("...", lang="en")


@pytest.mark.parametrize("which", [0, 1])
def test_what_the_ctc_head_drafts_changes_no_answer(both, which, monkeypatch):
    laura = Laura(replace(both[which].runtime, beams=1), both[which].voices)
    drafted = [laura.transcribe(WAVES), *(laura.transcribe(wave) for wave in WAVES)]
    monkeypatch.setattr("lauragpt.engine.runtime.decode", lambda *given, drafts: decode(*given))
    plain = [laura.transcribe(WAVES), *(laura.transcribe(wave) for wave in WAVES)]
    assert [r.text for r in (*drafted[0], *drafted[1:])] == [r.text for r in (*plain[0], *plain[1:])]


def test_a_voice_whose_words_are_unknown_lends_its_sound_alone(both):
    laura = both[0]
    voice = replace(laura.find_voice(sound(1.2), text="a tone", lang="en"), spoken="")
    assert laura.speak("Yes.", lang="en", voice=voice).receipt["finish"] in ("eos", "length")
