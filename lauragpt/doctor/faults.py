"""What can be wrong with data, one row a kind: how bad it is, what to do, and what `--fix` does.

A fault is an error where training on the data, or a measure taken on them, would be wrong; a warning where it would be worse than it need
be; a note where a person may want to know.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    name: str
    severity: Severity
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("line", "error", "lines that cannot be used", "correct them; the manifest of --fix is without them"),
        Kind("id", "error", "ids that are used twice", "give each example its own; --fix numbers them"),
        Kind("missing", "error", "recordings that are not there", "put them there, or leave their lines out, as --fix does"),
        Kind("unreadable", "error", "recordings that cannot be read", "make them anew, or leave their lines out, as --fix does"),
        Kind("empty", "error", "recordings under 0.1 s", "they hold neither a word nor a sound; --fix leaves them out"),
        Kind("silent", "error", "recordings without a sound that are said to hold one", "--fix leaves them out"),
        Kind("duration", "error", "durations that are not those of the recordings", "--fix writes the right ones"),
        Kind("rate", "error", "rates that are not those of the files", "another file, or one resampled under its old header: listen"),
        Kind("same-audio", "error", "recordings that stand in two splits", "what is measured was learned; --fix leaves them out of train"),
        Kind("same-speaker", "error", "speakers who stand in two splits", "--fix leaves out their part on the side that has less of them"),
        Kind("same-text", "error", "sentences that stand in train and are measured", "--fix leaves them out of train"),
        Kind("conflict", "error", "one recording with two answers", "one is wrong: listen; --fix leaves out all of them"),
        Kind("too-fast", "error", "texts that nobody can say in the time", "they do not belong together; --fix leaves them out"),
        Kind("mismatch", "error", "transcripts that the recordings do not say", "listen: are they a line off? --fix leaves them out"),
        Kind("unlikely", "warning", "transcripts that the model finds unlikely", "listen: is each word written as it is said?"),
        Kind("pace", "warning", "texts far longer or shorter than usual for their time", "listen; --fix leaves them out"),
        Kind("truncated", "warning", "recordings that are cut short or damaged", "their text may go on behind the sound: make them anew"),
        Kind("duplicate", "warning", "recordings that come twice in a split", "they count twice; --fix leaves out all but the first"),
        Kind("held-speaker", "warning", "speakers who stand in dev and test", "what was chosen on dev was chosen for them too"),
        Kind("clipped", "warning", "recordings with clipped samples", "record them with less gain; training still learns from them"),
        Kind("quiet", "warning", "recordings that are very quiet", "raise their gain"),
        Kind("low-rate", "warning", "recordings under 16 kHz", "half of the sound is missing: use the originals if there are better ones"),
        Kind("narrow", "warning", "recordings of a telephone's bandwidth", "they were resampled from a lower rate: use the originals"),
        Kind("licence", "warning", "corpora of unknown licence", "say it with --licence, or in corpora.json beside the data"),
        Kind("language", "warning", "languages that the model has no token for", "fine-tune a new language, or correct the column"),
        Kind("no-text", "note", "recordings that are said to hold no words", "right of sounds without speech; else their text is missing"),
        Kind("pauses", "note", "recordings that are pauses for the most part", "cut them shorter"),
        Kind("one-speaker", "note", "corpora of one speaker, who stands in two splits", "a measure on them tells of this voice alone"),
        Kind("closed-set", "note", "corpora whose few sentences are in every split", "a measure on them tells little of new sentences"),
        Kind("no-split", "note", "splits without an example", "nothing can be measured, or learned"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """`examples`: places in the list of examples that it is about. `drop`: those that `--fix` leaves out."""

    kind: str
    what: str
    examples: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity
