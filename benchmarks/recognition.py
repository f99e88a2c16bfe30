"""How quickly recordings are written down, beside other recognisers on the same machine: seconds a second of sound, at several batches.

Peers: pocketsphinx as it comes; a Whisper of the size `tiny` (37.8 M) with random weights, in transformers and in CTranslate2, the
engine of faster-whisper, with weights of 8 bits. What is random writes nonsense, so each writes a fixed number of tokens: it costs what
a trained one would. And the checkpoint once more with one beam. The baselines follow one text alone, which is their quickest way. All
take turns, run by run, so that a busy moment falls on all; a ratio is of two runs beside each other. Out: a table on stdout,
recognition.json and recognition.md in a folder."""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import command
import numpy as np
from speed import cell, machine, material, open_baseline

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.api import Laura
from lauragpt.evaluate.metrics import MissingPackage, need

PACKAGES = ("lauragpt", "onnxruntime", "torch", "transformers", "ctranslate2", "pocketsphinx", "numpy")
TOKENS_A_SECOND = 4.0  # of Whisper: about three words a second, some of them in two tokens
START, END, LANGUAGE, TASK, NO_TIMES, SILENT = 50258, 50257, 50259, 50359, 50363, 50362  # Whisper's own ids
HEADS = ("recogniser", "batch", "seconds", "real time factor", "times lauragpt", "from", "to")
Recogniser = Callable[[list[np.ndarray]], object]


def whisper(seconds: float, threads: int, place: Path) -> dict[str, Recogniser | str]:
    """Two engines with one Whisper of random weights: name -> a recogniser, or why there is none."""
    names, found = ("Whisper tiny, transformers", "Whisper tiny, CTranslate2, 8 bits"), {}
    try:
        transformers, torch = need("transformers"), need("torch")
    except MissingPackage as error:
        return dict.fromkeys(names, str(error))
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig()).eval()
    features, tokens = transformers.WhisperFeatureExtractor(), round(TOKENS_A_SECOND * seconds)

    def mels(waves: list[np.ndarray]) -> np.ndarray:
        return features(waves, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features.astype(np.float32)

    def generate(waves: list[np.ndarray]) -> None:
        given = torch.from_numpy(mels(waves))
        with torch.inference_mode():  # the plain `generate`: Whisper's own asks for what only a trained checkpoint brings
            written = transformers.GenerationMixin.generate(
                model, given, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, num_beams=1
            )
        assert written.shape[1] == 1 + tokens

    found[names[0]] = generate
    try:
        ctranslate2 = need("ctranslate2")
    except MissingPackage as error:
        return found | {names[1]: str(error)}
    from ctranslate2.converters.transformers import WhisperLoader

    spec = WhisperLoader().get_model_spec(model)
    vocabulary = [f"<{number}>" for number in range(model.config.vocab_size)]
    for number, name in (
        (END, "<|endoftext|>"),
        (START, "<|startoftranscript|>"),
        (SILENT, "<|nospeech|>"),
        (NO_TIMES, "<|notimestamps|>"),
    ):
        vocabulary[number] = name
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids, spec.config.suppress_ids_begin, spec.config.lang_ids, spec.config.alignment_heads = (
        [END],
        [],
        [LANGUAGE],
        [[0, 0]],
    )
    spec.validate()
    spec.optimize(quantization="int8")
    place.mkdir()
    spec.save(str(place))
    engine = ctranslate2.models.Whisper(str(place), device="cpu", compute_type="int8", intra_threads=threads)

    def translate(waves: list[np.ndarray]) -> None:
        given, prompt = ctranslate2.StorageView.from_array(mels(waves)), [START, LANGUAGE, TASK, NO_TIMES]
        # It counts what it is given as half of the most.
        written = engine.generate(
            given, [prompt] * len(waves), beam_size=1, max_length=2 * tokens, suppress_tokens=[END], suppress_blank=False
        )
        assert all(len(row.sequences_ids[0]) == tokens for row in written)

    return found | {names[1]: translate}


def one_beam(laura: Laura) -> Recogniser:
    """The same with the likeliest letter each time; most of them drafted by the CTC head and checked several at once."""
    single = Laura(replace(laura.runtime, beams=1), laura.voices)
    return lambda waves: single.transcribe(waves, lang="en")


def in_batches(recognise: Recogniser, size: int) -> Recogniser:
    return lambda waves: [recognise(waves[start : start + size]) for start in range(0, len(waves), size)]


def measure(laura: Laura, baselines: dict[str, Recogniser], batches: tuple[int, ...], seconds: float, runs: int, fewest: int) -> list[dict]:
    """Each batch size on at least `fewest` recordings, a batch after the other."""
    rows: list[dict] = []
    recognisers = {laura.name: lambda waves: laura.transcribe(waves, lang="en"), f"{laura.name}, 1 beam": one_beam(laura), **baselines}
    for batch in batches:
        waves = material("speech", seconds, max(batch, fewest))
        taken = command.in_turn({name: in_batches(recognise, batch) for name, recognise in recognisers.items()}, waves, runs)
        for who, own in taken.items():
            times, median = command.spread(own, taken[laura.name]), statistics.median(own)
            rows.append({
                "recogniser": who, "batch": batch, "recordings": len(waves),
                "seconds": median, "real time factor": median / (len(waves) * seconds),
                "times lauragpt": times["median"], "from": times["from"], "to": times["to"],
            })  # fmt: skip
    return rows


def markdown(report: dict) -> str:
    lines = command.head("Speed of recognition", report, f"{report['machine']['threads']} threads (pocketsphinx: one)")
    lines += [
        f"- recordings of {report['item']:g} s, {report['fewest']} or as many as a batch has; {report['runs']} runs in turn, "
        "the median; the last two columns are the least and the most"
    ]
    lines += [
        f"- Whisper: random weights, {TOKENS_A_SECOND:g} tokens a second of sound, so its speed alone means anything; it always hears 30 s"
    ]
    lines += [f"- {note}" for note in report["notes"]]
    lines += ["", *command.table(HEADS, report["rows"], cell)]
    return "\n".join(lines) + "\n"


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the two files, and returns what is in recognition.json."""
    command.check_out(out)
    batches, seconds, runs, fewest = ((1, 2), 1.0, 1, 2) if quick else ((1, 8, 16, 32), 5.0, 3, 8)
    laura = Laura.load(checkpoint)
    report = {
        "checkpoint": laura.name,
        "quick": quick,
        "item": seconds,
        "runs": runs,
        "fewest": fewest,
        "machine": machine(laura, PACKAGES),
        "notes": [],
    }
    with tempfile.TemporaryDirectory() as place:
        baselines, alone = whisper(seconds, laura.runtime.backend.threads, Path(place) / "whisper"), open_baseline()
        if callable(alone):
            baselines["pocketsphinx"] = lambda waves: [alone(wave) for wave in waves]
        else:
            baselines["pocketsphinx"] = alone
        report["notes"] = [f"{who} was not measured: {why}" for who, why in baselines.items() if isinstance(why, str)]
        report["rows"] = measure(
            laura, {who: hear for who, hear in baselines.items() if not isinstance(hear, str)}, batches, seconds, runs, fewest
        )
    command.write(report, out, "recognition", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    return command.run(
        "recognition",
        "Measure how quickly speech is written down, beside other recognisers.",
        "short recordings, one run",
        benchmark,
        markdown,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
