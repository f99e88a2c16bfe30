"""What users of whisper and faster-whisper look for: each option's name here, or why there is none.

An option that stands here is answered with its reason and exit status 2; docs/coming-from-whisper.md holds the same tables. Names are
read with dashes and with underscores alike.
"""

# whisper's option -> what does the same here
PRESENT = {
    "--model": "--model: a checkpoint folder, or mini",
    "--device": "--device",
    "--language": "--language, or --lang",
    "--output-dir": "--output-dir, or -o FOLDER",
    "--output-format": "--output-format, or --format, or the suffix of -o",
    "--beam-size": "--beam-size, or --beams",
    "--threads": "--threads",
    "--verbose": "--verbose, without a value",
    "--max-line-width": "--max-line-width, 42 unless given",
    "--max-line-count": "--max-line-count, 2 unless given",
    "--max-words-per-line": "--max-words-per-line",
}

_NO_PROMPT = "the model takes no prompt: no part of its training had one"
_NO_FALLBACK = "the search is the same for every recording, so there is no second try to set"
_NO_VAD = "always on: recordings are cut at pauses, and what holds no sound is answered with nothing"
_NO_PRECISION = "the precision is a property of the checkpoint: laura export --bits 8 makes a faster one"
_NO_SEARCH = "only the beam size can be set: --beams"
_NO_HIGHLIGHT = "subtitles do not mark the word that is spoken; --format json has each word's time"

# whisper's or faster-whisper's option -> why there is none
ABSENT = {
    "--task": "name the verb: laura transcribe, or laura translate --to en",
    "--initial-prompt": _NO_PROMPT,
    "--carry-initial-prompt": _NO_PROMPT,
    "--hotwords": _NO_PROMPT,
    "--prefix": _NO_PROMPT,
    "--condition-on-previous-text": "every stretch is read on its own, so that one mistake does not lead to others",
    "--temperature": "answers are searched for, not drawn at random: --beams sets how widely",
    "--temperature-increment-on-fallback": _NO_FALLBACK,
    "--compression-ratio-threshold": "loops are found and stopped while they are written; the receipt names them",
    "--logprob-threshold": "--min-confidence leaves out what the model is not sure of",
    "--no-speech-threshold": _NO_VAD,
    "--word-timestamps": "always on: --format json has each word's time, and subtitles go by them",
    "--highlight-words": _NO_HIGHLIGHT,
    "--prepend-punctuations": "transcripts have no punctuation",
    "--append-punctuations": "transcripts have no punctuation",
    "--suppress-tokens": "transcripts hold nothing but words",
    "--best-of": _NO_SEARCH,
    "--patience": _NO_SEARCH,
    "--length-penalty": _NO_SEARCH,
    "--repetition-penalty": _NO_SEARCH,
    "--no-repeat-ngram-size": _NO_SEARCH,
    "--clip-timestamps": "cut the recording first, as with ffmpeg -ss 10 -to 20",
    "--hallucination-silence-threshold": _NO_VAD,
    "--vad-filter": _NO_VAD,
    "--vad-parameters": _NO_VAD,
    "--vad-threshold": _NO_VAD,
    "--batch-size": "recordings and their stretches are batched by length by themselves; answers never depend on it",
    "--batched": "always on; answers never depend on it",
    "--fp16": _NO_PRECISION,
    "--compute-type": _NO_PRECISION,
    "--model-dir": "--model takes the folder itself",
    "--local-files-only": "nothing is ever fetched",
    "--multilingual": "always on: without --lang each stretch's language is detected",
}


def reason(option: str) -> str | None:
    """Why an option of whisper's is absent, as a line for a person; None for what is no option of whisper's."""
    option = option.replace("_", "-")
    return f"{option} of whisper is absent: {ABSENT[option]}" if option in ABSENT else None


def tables() -> str:
    """Both tables as Markdown, for the page of the documentation."""
    present = "".join(f"| `{option}` | {here} |\n" for option, here in PRESENT.items())
    absent = "".join(f"| `{option}` | {why} |\n" for option, why in ABSENT.items())
    return f"| whisper | here |\n|---|---|\n{present}\n| absent | why |\n|---|---|\n{absent}"
