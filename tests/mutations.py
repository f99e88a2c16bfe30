"""Does a test fail when the code breaks a promise? Run now and then, not by pytest: `python tests/mutations.py [NAME ...]`.

Each mutation changes one line in a copy of the tree and runs the tests that must fail. It prints "killed" if they fail, "SURVIVED" if they
pass, and "stale" if the line is no longer there or the tests cannot run. The exit status is 0 only if all are killed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("lauragpt", "tests", "recipes", "benchmarks", "experiments", "docs", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str  # must occur exactly once
    new: str
    tests: tuple[str, ...]  # files or node ids below tests/


MUTATIONS = (
    Mutation(
        "the CTC head's draft is the transcript",
        "lauragpt/engine/recognise.py",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]",
        "texts = [runtime.tokenizer.decode(ids).strip() for ids in drafts or [each.ids for each in decoded]]",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "the CTC head's greedy text is the transcript",
        "lauragpt/engine/recognise.py",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]",
        "texts = [runtime.info.ctc_units.decode(row[:n].argmax(-1).tolist()) for row, n in zip(encoded.ctc_lo"
        "g_probs, encoded.lengths)]",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "the CTC head's draft is the transcript of a recording alone",
        "lauragpt/engine/recognise.py",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]\n    texts = [runtime.tokeni"
        "zer.decode(ids) for ids in drafts] if drafts and len(chunks) == 1 else texts",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "the CTC head's draft is the transcript in a batch",
        "lauragpt/engine/recognise.py",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]\n    texts = [runtime.tokeni"
        "zer.decode(ids) for ids in drafts] if drafts and len(chunks) > 1 else texts",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "the CTC head's draft is the transcript where the GPT is unsure",
        "lauragpt/engine/recognise.py",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]",
        "texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]\n    unsure = [min(each.log_"
        "probs, default=0) < -0.5 for each in decoded]\n    if drafts:\n        texts = [d if u else x for x, u"
        ", d in zip(texts, unsure, [runtime.tokenizer.decode(ids) for ids in drafts])]",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "greedy decoding returns its draft",
        "lauragpt/engine/runtime.py",
        "if beams == 1 or bonus is None:",
        "if beams == 1 and drafts:\n            return [Decoded(ids, [0.0] * len(ids), 'eos') for ids in draft"
        "s]\n        if beams == 1 or bonus is None:",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "beam search returns the draft",
        "lauragpt/engine/runtime.py",
        "return search(session,",
        "return [Decoded(ids, [0.0] * len(ids), 'eos') for ids in drafts] if drafts else search(session,",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "a draft's tokens are written in place of the GPT's",
        "lauragpt/engine/decoding.py",
        "if tokens[place] != guess or ended(index, guess):",
        "decoded[index].ids[-1:] = [guess]\n                if ended(index, guess):",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "a draft is verified as always right",
        "lauragpt/engine/decoding.py",
        "if tokens[place] != guess or ended(index, guess):",
        "if ended(index, guess):",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "a stream is answered by the CTC head",
        "lauragpt/engine/stream.py",
        "result = join(runtime, \"asr\", results, lang, min_confidence)",
        "results = [replace(r, text=runtime.info.ctc_units.decode(r.ctc_log_probs.argmax(-1).tolist())) if r."
        "text else r for r in results]\n        result = join(runtime, \"asr\", results, lang, min_confidence)",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "a long recording is answered by the CTC head",
        "lauragpt/engine/recognise.py",
        "texts = [result for result in results if result.text]",
        "texts = [result for result in results if result.text]\n    if table.transcript and len(texts) > 1:\n  "
        "      answer.text = ' '.join(runtime.info.ctc_units.decode(r.ctc_log_probs.argmax(-1).tolist()) for "
        "r in texts)",
        ("engine/test_promises.py",),
    ),
    Mutation(
        "a draft is kept unchecked",
        "lauragpt/engine/decoding.py",
        "if tokens[place] != guess or ended(index, guess):",
        "if ended(index, guess):",
        ("engine/test_decoding.py",),
    ),
    Mutation(
        "rollback keeps one position too many",
        "lauragpt/engine/torch_backend.py",
        "torch.as_tensor(np.asarray(lengths)",
        "torch.as_tensor(1 + np.asarray(lengths)",
        ("engine/test_api.py::test_session_extend_rollback_and_select_against_opening_anew",),
    ),
    Mutation(
        "rollback keeps one position too many, in ONNX Runtime",
        "lauragpt/engine/onnx_backend.py",
        "self.lengths = np.array(lengths)",
        "self.lengths = np.array(lengths) + 1",
        ("engine/test_onnx.py::test_sequences_in_progress_are_the_same",),
    ),
    Mutation(
        "the GPT sees what follows",
        "lauragpt/model/gpt.py",
        "device=x.device).tril(), None",
        "device=x.device), None",
        ("model/test_gpt.py",),
    ),
    Mutation(
        "the vocoder ignores its text",
        "lauragpt/model/vocoder.py",
        "parts.append(self.text(letters) +",
        "parts.append(0 * self.text(letters) +",
        ("model/test_vocoder.py",),
    ),
    Mutation(
        "the vocoder ignores its prompt",
        "lauragpt/model/vocoder.py",
        "embedded, count = self.prompt(self.standardised(prompt[0])), prompt[1]",
        "embedded, count = 0 * self.prompt(self.standardised(prompt[0])), prompt[1]",
        ("model/test_vocoder.py",),
    ),
    Mutation(
        "the vocoder ignores the noisy speech",
        "lauragpt/model/vocoder.py",
        "x = x + self.noisy(self.standardised(noisy[0])) * _inside(noisy[1], T)[..., None]",
        "pass",
        ("model/test_vocoder.py",),
    ),
    Mutation(
        "the vocoder looks further ahead than streaming waits",
        "lauragpt/model/vocoder.py",
        "at[:, None] + self.config.look_ahead",
        "at[:, None] + self.config.look_ahead + 1",
        ("model/test_vocoder.py",),
    ),
    Mutation(
        "the vocoder's loss counts padding",
        "lauragpt/model/vocoder.py",
        "target.float())[_inside(lengths, predicted.shape[1])]",
        "target.float())",
        ("model/test_vocoder.py",),
    ),
    Mutation(
        "padding is not masked in the encoder",
        "lauragpt/model/encoder.py",
        "inside[:, None, None, :], inside[..., None]",
        "inside.any() | inside[:, None, None, :], inside[..., None]",
        ("model/test_encoder.py",),
    ),
    Mutation(
        "padding is read by the encoder's convolutions",
        "lauragpt/model/encoder.py",
        "mask, real = inside[:, None, None, :], inside[..., None].to",
        "mask, real = inside[:, None, None, :], (inside | True)[..., None].to",
        ("model/test_encoder.py",),
    ),
    Mutation(
        "the loss counts inputs as well as outputs",
        "lauragpt/sequence.py",
        "(False,) * len(asked) +",
        "(True,) * len(asked) +",
        ("test_sequence.py",),
    ),
    Mutation(
        "the loss is one position late",
        "lauragpt/model/lauragpt.py",
        "layouts[i].frames + k - 1 for k",
        "layouts[i].frames + k for k",
        ("model/test_lauragpt.py",),
    ),
    Mutation(
        "the phases of joint training are ignored",
        "lauragpt/train/stages/joint.py",
        "return self.phases or super().schedule",
        "return super().schedule",
        ("train/test_text_batches.py", "train/test_loop.py"),
    ),
    Mutation("a training reads dev", "lauragpt/train/run.py", 'if e.split == "train"]', 'if e.split != "test"]', ("train/test_train.py",)),
    Mutation(
        "the noise of sampling ignores the position",
        "lauragpt/engine/decoding.py",
        "counter=np.array([0, 0, 0, position]",
        "counter=np.array([0, 0, 0, 0]",
        ("engine/test_decoding.py",),
    ),
    Mutation(
        "the shuffled tokens are not shuffled",
        "lauragpt/evaluate/ablation.py",
        ".permutation(tokens)",
        ".permutation(1) * 0 + tokens",
        ("evaluate/test_run.py::test_the_ablation_measures_the_tokens_that_enhance_used",),
    ),
    Mutation(
        "inserted words are no errors",
        "lauragpt/evaluate/metrics.py",
        "counted.deletions + counted.insertions,",
        "counted.deletions,",
        ("evaluate/test_metrics.py",),
    ),
    Mutation(
        "any difference is significant",
        "lauragpt/evaluate/tally.py",
        "n >= FEWEST and (low > 0 or high < 0)",
        "n >= FEWEST",
        ("evaluate/test_tally.py",),
    ),
    Mutation(
        "a cached confidence of 0 is lost",
        "lauragpt/evaluate/answers.py",
        'if value or name == "confidence"}',
        "if value}",
        ("evaluate/test_run.py::test_answers_come_back_from_their_file",),
    ),
    Mutation(
        "the telephone is a wide one",
        "lauragpt/data/channel.py",
        'CODECS["mu-law"], 8000)',
        'CODECS["mu-law"], 16000)',
        ("data/test_channel.py",),
    ),
    Mutation(
        "noise is mixed in at the wrong level",
        "lauragpt/data/augment.py",
        "10 ** (-snr_db / 20)",
        "10 ** (-snr_db / 10)",
        ("data/test_augment.py",),
    ),
    Mutation(
        "failed speech is right in the demo",
        "lauragpt/cli/demo_verdict.py",
        "text = request.recognition.text",
        "text = reference",
        ("test_demo.py",),
    ),
    Mutation(
        "the paper's second phase leaves enhancement out",
        "recipes/paper-2b.yaml",
        "weights: {tts: 4, se: 2, aac: 1,",
        "weights: {tts: 4, aac: 1,",
        ("train/test_config.py",),
    ),
)


def copy_tree(root: Path, target: Path) -> None:
    """The tree without its large assets, which are linked."""
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "assets"), symlinks=True)
        elif source.exists():
            shutil.copy(source, target / name)
    (target / "lauragpt" / "assets").symlink_to(root / "lauragpt" / "assets")


def run_tests(tree: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-m",
        "not slow",
        *(f"tests/{test}" for test in tests),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def verdict(mutation: Mutation, tree: Path) -> str:
    """Applies the mutation to the tree, runs its tests, and undoes it."""
    path = tree / mutation.file
    original = path.read_text(encoding="utf-8") if path.exists() else ""
    if original.count(mutation.old) != 1:
        return f"stale: {mutation.file} holds the line {original.count(mutation.old)} times"
    if not all((tree / "tests" / test.partition("::")[0]).exists() for test in mutation.tests):
        return "stale: a test file is missing"
    path.write_text(original.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        process = run_tests(tree, mutation.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    if process.returncode == 0:
        return "SURVIVED"
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", process.stdout, re.MULTILINE)
    if process.returncode != 1 or failed is None:
        return f"stale: pytest ended with {process.returncode}: {(process.stdout + process.stderr).strip().splitlines()[-1]}"
    return f"killed by {failed[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only mutations whose names contain one of these")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to mutate a copy of")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if not options.names or any(name in m.name for name in options.names)]
    if options.list:
        print("\n".join(m.name for m in chosen))
        return 0
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        copy_tree(options.root, tree)
        for mutation in chosen:
            verdicts.append(verdict(mutation, tree))
            print(f"{mutation.name}: {verdicts[-1]}", flush=True)
    killed = sum(text.startswith("killed") for text in verdicts)
    print(f"{killed} of {len(chosen)} mutations killed")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
