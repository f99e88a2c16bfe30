"""The voices that a server knows: those that its checkpoint ships, and those that clients upload.

An uploaded voice is a recording and a card beside it, in one folder, which is all that worker processes share. The files are named by
random digits: no name of a client becomes a path.
"""

import contextlib
import json
import re
import secrets
import time
from pathlib import Path

from lauragpt.audio import load_audio, save_audio
from lauragpt.engine.api import Laura
from lauragpt.engine.voices import Voice, Voices, make_voice
from lauragpt.files import replacing
from lauragpt.serve.problems import Problem

# OpenAI's own: what clients ask for who know no other. They stand for the default voice of the text's language.
STANDARD = ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
ID = re.compile(r"voice_[0-9a-f]{16}")


class VoiceStore:
    """`folder`: of uploaded voices; `shipped`: of those of the checkpoint. Both are read anew each time: other workers write there too."""

    def __init__(self, folder: Path, shipped: Path, most: int):
        self.folder, self.most = folder, most
        self.shipped = Voices(shipped, None).cards  # names and languages need no backend
        self.made: dict[str, Voice] = {}

    def cards(self) -> dict[str, dict]:
        """The uploaded voices by id, the oldest first."""
        cards = {}
        for path in self.folder.glob("voice_*.json"):
            with contextlib.suppress(OSError, ValueError):  # another worker is deleting it
                cards[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        return dict(sorted(cards.items(), key=lambda item: (item[1]["created_at"], item[0])))

    def rows(self) -> list[dict]:
        shipped = [row(name, name, 0, card["lang"], "shipped") for name, card in self.shipped.items()]
        return shipped + [row(id, card["name"], card["created_at"], card["lang"], "uploaded") for id, card in self.cards().items()]

    def find(self, name: str | None) -> str | None:
        """What `voice` knows a voice by, from its id or name; None is the default. Problem 404 where there is none."""
        if name is None or name in STANDARD:
            return None
        if name in self.shipped:
            return name
        found = [id for id, card in self.cards().items() if name in (id, card["name"])]
        if not found:
            raise Problem(404, "there is no such voice: /v1/voices lists all", "voice", "voice_not_found")
        return found[0]

    def voice(self, laura: Laura, id: str | None) -> Voice | None:
        """In the worker's thread. Problem 404 where it was deleted meanwhile."""
        if id is None:
            return None
        if id in self.shipped:
            return laura.find_voice(id)
        card = self.cards().get(id)
        if card is None:
            raise Problem(404, "the voice was deleted", "voice", "voice_not_found")
        if id not in self.made:
            wave = load_audio(self.folder / f"{id}.wav")
            self.made[id] = make_voice(laura.runtime.backend, id, wave, card["text"], card["lang"])
        return self.made[id]

    def check(self, name: str) -> None:
        """Problem 400 for a name that cannot be had."""
        if not NAME.fullmatch(name) or ID.fullmatch(name):
            raise Problem(400, "name: give 1 to 64 letters, digits, spaces, - and _, the first a letter or a digit", "name")
        cards = self.cards().values()
        if name in (*STANDARD, *self.shipped, *(card["name"] for card in cards)):
            raise Problem(400, "name: there is a voice of this name already, so choose another", "name")
        if len(cards) >= self.most:
            raise Problem(400, f"there are {self.most} voices, which is all that this server keeps: delete one first")

    def add(self, name: str, consent: str, voice: Voice, text: str) -> dict:
        """Both files appear whole; the card, without which there is no voice, is the last."""
        id, made = f"voice_{secrets.token_hex(8)}", int(time.time())
        save_audio(self.folder / f"{id}.wav", voice.wave)
        card = {"name": name, "lang": voice.lang, "text": text, "created_at": made, "consent": consent}
        with replacing(self.folder / f"{id}.json", "w", encoding="utf-8") as file:
            json.dump(card | {"licence": "with the speaker's consent", "source": "uploaded"}, file)
        return row(id, name, made, voice.lang, "uploaded")

    def delete(self, name: str) -> str:
        """The id of the voice that was. Problem 404 where there is none, 400 for one that ships."""
        id = self.find(name)
        if id is None or id in self.shipped:
            raise Problem(400, "this voice ships with the checkpoint: only uploaded ones can be deleted", "voice")
        for suffix in (".json", ".wav"):
            (self.folder / f"{id}{suffix}").unlink(missing_ok=True)
        self.made.pop(id, None)
        return id


def row(id: str, name: str, created_at: int, lang: str | None, source: str) -> dict:
    about = {"id": id, "object": "audio.voice", "type": "audio_sample", "name": name, "created_at": created_at}
    return about | {"language": lang, "source": source}
