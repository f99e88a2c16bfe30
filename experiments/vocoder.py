"""What does a judge understand of speech that a vocoder makes of true tokens, and which part of it loses words?

    python experiments/vocoder.py recipes/voice.yaml --judge whisper:FOLDER --corpus kathleen --count 30

Takes the weights of a recipe's stages, as far as they are trained. Needs jiwer, whisper-normalizer and faster-whisper.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import jiwer
import numpy as np
import torch
from whisper_normalizer.basic import BasicTextNormalizer

from lauragpt.data.manifest import Example
from lauragpt.evaluate.recognisers import open_recogniser
from lauragpt.model.lauragpt import LauraModel
from lauragpt.source_filter import F0, POINTS, speech
from lauragpt.train.batches import letters_of
from lauragpt.train.config import load_recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import assemble, make_corpus, read_data
from lauragpt.train.speech_frames import analysed

PROMPT = 48_000  # samples


@torch.no_grad()
def frames_of(model: LauraModel, corpus: Corpus, example: Example, codes: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    """Of codes (1, T) with the example's text and another recording of its speaker: (4 T, 66)."""
    letters, length, other = letters_of(corpus, example), torch.tensor([codes.shape[1]]), corpus.voice_prompt(example, rng)
    text = letters[None], torch.tensor([len(letters)]), model.said(codes, length, [letters.tolist()])
    prompt = None
    if other is not None:
        wave = torch.from_numpy(corpus.waves(other.audio)[:PROMPT])
        prompt = model.prompt_of(wave[None], torch.tensor([len(wave)]))
    return model.vocoder.speech(codes, length, text, prompt)[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--judge", required=True, help="as `laura eval --judge` takes it")
    parser.add_argument("--corpus", default="kathleen")
    parser.add_argument("--count", type=int, default=30)
    asked = parser.parse_args()
    recipe, judge, normalizer = load_recipe(asked.recipe), open_recogniser(asked.judge), BasicTextNormalizer()
    model, (train, dev) = assemble(recipe).eval(), read_data(Path(recipe.data))
    corpus, rng = make_corpus(recipe, train, dev), np.random.default_rng(0)
    examples = [e for e in dev if e.task == "tts" and e.corpus == asked.corpus and 2 < e.duration < 9][: asked.count]
    texts, heard, distances = [normalizer(e.source) for e in examples], defaultdict(list), []
    for example in examples:
        wave = corpus.waves(example.audio)
        codes = model.codec.encode(torch.from_numpy(wave)[None], n_quantizers=1)[:, 0]
        order = torch.randperm(codes.shape[1], generator=torch.Generator().manual_seed(0))
        true, own = analysed(wave), frames_of(model, corpus, example, codes, rng)
        envelope, source = true.copy(), own.copy()
        envelope[:, :POINTS], source[:, :POINTS] = own[:, :POINTS], true[:, :POINTS]
        distances.append((np.abs(true - own)[:, :POINTS].mean(), ((true[:, F0] > 0) == (own[:, F0] > 0)).mean()))
        sounds = {
            "the recordings": wave, "their own frames": speech(true), "their tokens": speech(own),
            "in another order": speech(frames_of(model, corpus, example, codes[:, order], rng)),
            "the vocoder's envelope with the true source": speech(envelope), "its source with the true envelope": speech(source),
        }  # fmt: skip
        for name, sound in sounds.items():
            heard[name].append(normalizer(judge.recognise(sound.clip(-1, 1), example.lang)))
    for name, answers in heard.items():
        print(f"{name}: {100 * jiwer.wer(texts, answers):.1f} % of the words are missed")
    distance, voicing = np.mean(distances, 0)
    print(f"envelope: {distance:.2f} nepers of power from the true one; voiced or not is right in {100 * voicing:.1f} % of the frames")


if __name__ == "__main__":
    main()
