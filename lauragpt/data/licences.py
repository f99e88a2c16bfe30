"""Under which licences a checkpoint's training data stood, and what may therefore be done with its weights.

In: the corpora that training reads and the checkpoint that it starts from. Out: a `Provenance`, which is written into `config.json` and the
model card. A checkpoint inherits the corpora of every checkpoint before it: `init`, what that one started from, and so on. A corpus
that nobody described is of unknown licence, which is not the same as free.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lauragpt.checkpoint import find_checkpoint, hash_of, hash_of_weights, read_config
from lauragpt.errors import LauraError

OWN_CORPORA = "corpora.json"  # beside train.jsonl: {"my-calls": {"licence": "my own recordings", "commercial": true}}
TEXT_CORPORA = "text.corpora.json"  # beside text.en.txt: the names of the corpora whose sentences it holds
UNKNOWN = "unknown"


@dataclass(frozen=True)
class CorpusLicence:
    """The licence of a corpus, and whether weights trained on it may be used commercially: None where that is not known."""

    licence: str
    commercial: bool | None
    title: str = ""


CORPORA: dict[str, CorpusLicence] = {
    "debug": CorpusLicence("CC0 1.0", True, "Debug: tones and noise made by formulas, for a first try"),
    "librispeech": CorpusLicence("CC BY 4.0", True, "LibriSpeech: read English audiobooks"),
    "kathleen": CorpusLicence("CC0 1.0", True, "Kathleen: Arctic prompts, one American woman"),
    "ljspeech": CorpusLicence("public domain", True, "LJ Speech: one American woman reading books"),
    "kerstin": CorpusLicence("CC0 1.0", True, "Kerstin: one German woman"),
    "alphanumeric": CorpusLicence("MIT", True, "Alphanumeric: names, addresses and numbers in many accents"),
    "digits": CorpusLicence("CC BY-SA 4.0", True, "Free Spoken Digit Dataset"),
    "ravdess": CorpusLicence("CC BY-NC-SA 4.0", False, "RAVDESS: emotional speech"),
    "esc50": CorpusLicence("CC BY-NC 3.0", False, "ESC-50: environmental sounds"),
    "barista": CorpusLicence("Apache-2.0", True, "Barista: spoken coffee orders"),
    "dns_pairs": CorpusLicence("CC BY 4.0", True, "Deep Noise Suppression challenge: synthetic test pairs"),
    "libritts": CorpusLicence("CC BY 4.0", True, "LibriTTS: English audiobooks, by sentences"),
    "aishell": CorpusLicence("Apache-2.0", True, "AISHELL-1: read Mandarin"),
    "aishell2": CorpusLicence("research, non-commercial", False, "AISHELL-2: read Mandarin, by phones"),
    "gigaspeech": CorpusLicence("research, non-commercial", False, "GigaSpeech: English audiobooks, podcasts and YouTube"),
    "wenetspeech": CorpusLicence("research, non-commercial", False, "WenetSpeech: Mandarin podcasts and YouTube"),
    "commonvoice": CorpusLicence("CC0 1.0", True, "Common Voice: sentences read by volunteers"),
    "covost2": CorpusLicence("CC BY-NC 4.0", False, "CoVoST 2: translations of Common Voice"),
    "slurp-speech": CorpusLicence("CC BY-NC 4.0", False, "SLURP: spoken requests with intents and slots"),
    "audiocaps": CorpusLicence("research, non-commercial", False, "AudioCaps: sounds of YouTube with captions"),
    "clotho": CorpusLicence("research, non-commercial", False, "Clotho: sounds of Freesound with captions"),
    "meld": CorpusLicence("GPL-3.0, clips of a television series for research", None, "MELD: emotions in dialogues of a television series"),
    "iemocap": CorpusLicence("research, non-commercial", False, "IEMOCAP: emotions in acted dialogues"),
    "crema-d": CorpusLicence("ODbL 1.0", True, "CREMA-D: emotions in acted sentences"),
    "voicebank-demand": CorpusLicence("CC BY 4.0", True, "VoiceBank-DEMAND: speech with and without noise"),
    "dns": CorpusLicence("CC BY 4.0 and the licences of its sources", None, "Deep Noise Suppression challenge: training pairs"),
    "books_en": CorpusLicence("public domain", True, "English novels, text"),
    "ljspeech_sentences": CorpusLicence("public domain", True, "LJ Speech, all sentences, text"),
    "multi30k": CorpusLicence("research, non-commercial", False, "Multi30k: image captions in English and German, text"),
    "tatoeba": CorpusLicence("CC BY 2.0 FR", True, "Tatoeba: translated sentences, text"),
    "slurp": CorpusLicence("CC BY 4.0", True, "SLURP: requests with intents and slots, text"),
    "captions_en": CorpusLicence("research, non-commercial", False, "Captions of Clotho and AudioCaps, text"),
    "nospeech": CorpusLicence("CC BY-NC 3.0", False, "ESC-50: sounds without speech, for recognition"),
    "synth-short": CorpusLicence("public domain", True, "Digits, names and phrases of books said by Pico, flite, Piper and espeak-ng"),
    "synth-books": CorpusLicence("public domain", True, "Sentences of books said by Pico, flite, Piper and espeak-ng"),
    "synth-tts": CorpusLicence("public domain", True, "Sentences of books said by one voice of Piper and one of flite"),
    "synth-tts-de": CorpusLicence("CC BY 2.0 FR", True, "Tatoeba sentences said by one voice of Pico in German"),
    "synth-slurp": CorpusLicence("CC BY 4.0", True, "SLURP requests said by Pico, flite, Piper and espeak-ng"),
    "synth-multi30k": CorpusLicence("research, non-commercial", False, "Multi30k captions said by Pico, flite, Piper and espeak-ng"),
    "synth-multi30k-de": CorpusLicence("research, non-commercial", False, "Multi30k captions said by Pico and espeak-ng in German"),
    "synth-tatoeba": CorpusLicence("CC BY 2.0 FR", True, "Tatoeba sentences said by Pico, flite, Piper and espeak-ng"),
    "synth-tatoeba-de": CorpusLicence("CC BY 2.0 FR", True, "Tatoeba sentences said by Pico and espeak-ng in German"),
}
UNDESCRIBED = CorpusLicence(UNKNOWN, None)


def described_corpora(data: Path) -> dict[str, CorpusLicence]:
    """The table's corpora and those that `data`/corpora.json describes. LauraError where that file is wrong, or describes one of the
    table anew."""
    path = Path(data) / OWN_CORPORA
    if not path.exists():
        return dict(CORPORA)
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        own = {name: CorpusLicence(entry["licence"], entry["commercial"], entry.get("title", "")) for name, entry in described.items()}
        if not all(isinstance(corpus.licence, str) and isinstance(corpus.commercial, bool | None) for corpus in own.values()):
            raise TypeError("a licence is text, and commercial is true, false or null")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        example = '{"my-calls": {"licence": "my own recordings", "commercial": true}}'
        raise LauraError(f"{path} cannot be read ({type(error).__name__}: {error}): it holds entries such as {example}") from None
    if again := sorted(own.keys() & CORPORA.keys()):
        raise LauraError(f"{path} describes {', '.join(again)}, whose licence is known: give your own corpus another name")
    return CORPORA | own


def text_corpora(data: Path) -> list[str]:
    """The corpora whose sentences stand in text.en.txt and text.de.txt; the files' own names where nothing says so."""
    path = Path(data) / TEXT_CORPORA
    if not path.exists():
        return sorted(file.name for file in Path(data).glob("text.*.txt"))
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LauraError(f"{path} cannot be read ({error}): run `laura prepare` again") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LauraError(f"{path} must be a list of corpora's names: run `laura prepare` again")
    return names


def commercial_use(licence: str) -> bool | None:
    """Whether a licence, by its usual names, allows commercial use of what was learned from; None for one that is not known."""
    words = set(re.split(r"[^a-z0-9]+", licence.lower()))
    if words & {"nc", "noncommercial", "research", "academic"} or "non-commercial" in licence.lower():
        return False
    free = {"cc0", "mit", "apache", "bsd", "unlicense", "pddl", "odc", "isc"}
    return True if words & free or {"cc", "by"} <= words or "public domain" in licence.lower() else None


STRICTNESS = ("public domain", "attribution", "share alike", UNKNOWN, "no commercial use")  # from the freest on


def strictness(licence: CorpusLicence) -> str:
    """What a licence asks for at most, of STRICTNESS."""
    words = set(re.split(r"[^a-z0-9]+", licence.licence.lower()))
    if licence.commercial is False:
        return "no commercial use"
    if licence.commercial is None:
        return UNKNOWN
    if words & {"sa", "gpl", "odbl"}:
        return "share alike"
    return "public domain" if words & {"cc0", "unlicense", "pddl"} or "public domain" in licence.licence.lower() else "attribution"


def strictest(permissions: Iterable[bool | None]) -> bool | None:
    """False if any is False, else None if any is unknown, else True."""
    permissions = set(permissions)
    return False if False in permissions else None if None in permissions else True


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint that training started from, or that one of these started from."""

    name: str
    weights: str  # first 16 digits of the hash of its weights
    corpora: dict[str, str]  # name -> licence
    commercial: bool | None

    @classmethod
    def of(cls, folder: Path, config: dict) -> "Ancestor":
        """A checkpoint by its config.json. It may be used commercially if it says so and none of its corpora forbids it."""
        corpora = config.get("corpora") if isinstance(config.get("corpora"), dict) else {}
        permissions = [config.get("commercial") if corpora else None, *(CORPORA[name].commercial for name in corpora if name in CORPORA)]
        return cls(config.get("name") or folder.resolve().name, hash_of_weights(folder)[:16], corpora, strictest(permissions))


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint was trained on: in its own run, and before."""

    corpora: dict[str, CorpusLicence] = field(default_factory=dict)
    ancestors: tuple[Ancestor, ...] = ()  # the nearest first

    @classmethod
    def of(cls, names: Iterable[str], described: Mapping[str, CorpusLicence], init: str = "") -> "Provenance":
        """`names`: the corpora that a run reads; `init`: the checkpoint that it starts from, if any."""
        ancestors: tuple[Ancestor, ...] = ()
        if init:
            folder = find_checkpoint(init)
            config = read_config(folder)
            try:
                ancestors = (Ancestor.of(folder, config), *(Ancestor(**earlier) for earlier in config.get("ancestors") or ()))
            except TypeError as error:
                raise LauraError(f"{folder}/config.json: its ancestors cannot be read ({error}): fetch the checkpoint again") from None
        return cls({name: described.get(name, UNDESCRIBED) for name in sorted(set(names))}, ancestors)

    def with_published(self, folder: Path) -> "Provenance":
        """This, and published weights (`folder`'s files) that training begins with. Their licence is that of the folder's
        LICENSE file; without one it is not known."""
        files = sorted(path for kind in ("safetensors", "tflite") for path in folder.glob(f"*.{kind}"))
        try:
            first = (folder / "LICENSE").read_text(encoding="utf-8").strip().splitlines()[0].strip()
        except (OSError, IndexError):
            first = "not known"
        name, commercial = folder.resolve().name, True if first.startswith(("MIT", "Apache")) else None
        return replace(self, ancestors=(*self.ancestors, Ancestor(name, hash_of(*files)[:16], {name: first}, commercial)))

    @property
    def licences(self) -> dict[str, str]:
        """corpus -> licence, of the run and of every ancestor."""
        inherited = {name: licence for ancestor in self.ancestors for name, licence in ancestor.corpora.items()}
        return dict(sorted((inherited | {name: corpus.licence for name, corpus in self.corpora.items()}).items()))

    @property
    def commercial(self) -> bool | None:
        return strictest([*(corpus.commercial for corpus in self.corpora.values()), *(ancestor.commercial for ancestor in self.ancestors)])

    def with_run(self, other: "Provenance") -> "Provenance":
        """This and another run into the same folder: both left their weights there."""
        known = {ancestor.weights for ancestor in self.ancestors}
        return Provenance(self.corpora | other.corpora, (*self.ancestors, *(each for each in other.ancestors if each.weights not in known)))

    def to_dict(self) -> dict:
        return {
            "corpora": {name: vars(corpus) for name, corpus in self.corpora.items()},
            "ancestors": [vars(ancestor) for ancestor in self.ancestors],
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Provenance":
        corpora = {name: CorpusLicence(**corpus) for name, corpus in values["corpora"].items()}
        return cls(corpora, tuple(Ancestor(**ancestor) for ancestor in values["ancestors"]))

    def reasons(self) -> list[str]:
        """What forbids commercial use, or, where nothing does, what is not known to allow it."""
        wanted = self.commercial
        own = [f"{name} ({corpus.licence})" for name, corpus in self.corpora.items() if corpus.commercial is wanted]
        return own + [f"{ancestor.name}, from which training started" for ancestor in self.ancestors if ancestor.commercial is wanted]

    def use(self) -> str:
        """One sentence: whether the weights may be used commercially, and why not."""
        if self.commercial:
            return "The weights may be used commercially: every corpus behind them allows it."
        reasons = ", ".join(self.reasons())
        if self.commercial is None:
            return f"Whether the weights may be used commercially is not known. These have no known licence: {reasons}."
        return f"The weights are for non-commercial use only, because of {reasons}."

    def table(self) -> str:
        """A Markdown table: corpus, licence, and which run read it."""
        readers: dict[str, list[str]] = {name: ["this run"] for name in self.corpora}
        for ancestor in self.ancestors:
            for name in ancestor.corpora:
                readers.setdefault(name, []).append(ancestor.name)
        rows = [f"| {name} | {licence} | {', '.join(dict.fromkeys(readers[name]))} |" for name, licence in self.licences.items()]
        return "\n".join(["| corpus | licence | read by |", "|---|---|---|", *rows])


def record(out: Path, run: Provenance) -> Provenance:
    """Adds a run to `out`/provenance.json and returns the whole: stages that an earlier run left there count, whatever it started from."""
    path = Path(out) / "provenance.json"
    if path.exists():
        try:
            run = Provenance.from_dict(json.loads(path.read_text(encoding="utf-8"))).with_run(run)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LauraError(f"{path} cannot be read ({error}): choose another `out`, or mend the file") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(run.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)
    return run
