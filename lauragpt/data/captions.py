"""Wordings for the 50 classes of environmental sound, and the way back from a caption to its class.

ESC-50 has class names and no captions, so these are written for it; scores on them are labelled as on our own wordings.
`CAPTIONS[class]` is a list of spoken-form captions; `sound_of(caption)` is the class a caption names, for the "right sound" metric.
"""

import math
import re
from collections import Counter
from functools import cache

CAPTIONS: dict[str, list[str]] = {
    "dog": ["a dog barks", "a dog is barking", "a dog barks loudly", "barking of a dog"],
    "rooster": ["a rooster crows", "a rooster is crowing", "a rooster crows in the morning", "crowing of a rooster"],
    "pig": ["a pig oinks", "a pig is grunting", "a pig grunts and oinks", "grunting of a pig"],
    "cow": ["a cow moos", "a cow is mooing", "a cow moos loudly", "mooing of a cow"],
    "frog": ["a frog croaks", "frogs are croaking", "a frog croaks again and again", "croaking of a frog"],
    "cat": ["a cat meows", "a cat is meowing", "a cat meows loudly", "meowing of a cat"],
    "hen": ["a hen clucks", "a hen is clucking", "a chicken clucks", "clucking of a hen"],
    "insects": ["insects buzz", "an insect is buzzing", "a fly buzzes around", "buzzing of flying insects"],
    "sheep": ["a sheep bleats", "a sheep is bleating", "sheep bleat loudly", "bleating of a sheep"],
    "crow": ["a crow caws", "a crow is cawing", "crows caw loudly", "cawing of a crow"],
    "rain": ["rain falls", "rain is falling", "heavy rain pours down", "it is raining steadily"],
    "sea waves": ["waves break on the shore", "sea waves roll in", "ocean waves crash on the beach", "the sea washes against the shore"],
    "crackling fire": ["a fire crackles", "a fire is crackling", "wood burns and crackles", "crackling of a fire"],
    "crickets": ["crickets chirp", "crickets are chirping", "crickets chirp at night", "chirping of crickets"],
    "chirping birds": ["birds chirp", "birds are chirping", "birds sing and chirp", "singing of small birds"],
    "water drops": ["water drips", "drops of water fall", "water is dripping slowly", "dripping of water drops"],
    "wind": ["the wind blows", "wind is blowing", "a strong wind howls", "howling of the wind"],
    "pouring water": ["water is poured", "someone pours water into a glass", "water is poured into a container", "pouring of water"],
    "toilet flush": ["a toilet flushes", "a toilet is flushed", "someone flushes a toilet", "flushing of a toilet"],
    "thunderstorm": ["thunder rolls", "thunder rumbles", "a thunderstorm rumbles", "thunder cracks in a storm"],
    "crying baby": ["a baby cries", "a baby is crying", "a baby cries loudly", "crying of a baby"],
    "sneezing": ["someone sneezes", "a person is sneezing", "a person sneezes", "a loud sneeze"],
    "clapping": ["people clap", "people are clapping", "an audience applauds", "applause and clapping hands"],
    "breathing": ["someone breathes", "a person is breathing", "a person breathes heavily", "heavy breathing"],
    "coughing": ["someone coughs", "a person is coughing", "a person coughs", "coughing of a person"],
    "footsteps": ["someone walks", "footsteps on the ground", "a person walks with loud footsteps", "footsteps of someone walking"],
    "laughing": ["someone laughs", "a person is laughing", "people laugh out loud", "laughter of people"],
    "brushing teeth": [
        "someone brushes their teeth",
        "teeth are being brushed",
        "a person is brushing teeth",
        "brushing with a toothbrush",
    ],
    "snoring": ["someone snores", "a person is snoring", "a sleeping person snores", "snoring of a sleeper"],
    "drinking sipping": ["someone sips a drink", "a person is drinking", "a person takes a sip", "drinking and swallowing"],
    "door wood knock": ["someone knocks on a door", "a knock on a wooden door", "knocking on a door", "a person is knocking on wood"],
    "mouse click": ["a computer mouse clicks", "a mouse is clicked", "someone clicks a mouse", "clicking of a computer mouse"],
    "keyboard typing": [
        "someone types on a keyboard",
        "a person is typing",
        "keys of a keyboard are pressed",
        "typing on a computer keyboard",
    ],
    "door wood creaks": ["a door creaks", "a wooden door is creaking", "a door creaks open", "creaking of a door"],
    "can opening": ["a can is opened", "someone opens a can", "a can of soda is opened", "opening of a can"],
    "washing machine": [
        "a washing machine runs",
        "a washing machine is running",
        "a washing machine spins",
        "laundry turns in a washing machine",
    ],
    "vacuum cleaner": ["a vacuum cleaner runs", "a vacuum cleaner is running", "someone vacuums the floor", "humming of a vacuum cleaner"],
    "clock alarm": ["an alarm clock rings", "an alarm clock is beeping", "the alarm of a clock goes off", "beeping of an alarm clock"],
    "clock tick": ["a clock ticks", "a clock is ticking", "a clock ticks steadily", "ticking of a clock"],
    "glass breaking": ["glass breaks", "glass shatters", "a glass is smashed to pieces", "breaking of glass"],
    "helicopter": ["a helicopter flies", "a helicopter is flying by", "a helicopter flies overhead", "the blades of a helicopter"],
    "chainsaw": ["a chainsaw runs", "a chainsaw is cutting wood", "a chainsaw roars", "roaring of a chainsaw"],
    "siren": ["a siren wails", "a siren is wailing", "the siren of an emergency vehicle", "a police siren sounds"],
    "car horn": ["a car horn honks", "a car is honking", "a driver honks the horn", "honking of a car horn"],
    "engine": ["an engine runs", "an engine is running", "an engine idles", "humming of a motor engine"],
    "train": ["a train passes", "a train is passing by", "a train rolls along the tracks", "rattling of a train"],
    "church bells": ["church bells ring", "church bells are ringing", "the bells of a church toll", "ringing of church bells"],
    "airplane": ["an airplane flies", "an airplane is flying by", "an airplane passes overhead", "a plane flies through the sky"],
    "fireworks": ["fireworks explode", "fireworks are going off", "fireworks bang and crackle", "explosions of fireworks"],
    "hand saw": ["someone saws wood", "a hand saw is sawing", "a person saws by hand", "sawing of wood with a hand saw"],
}
# Sounds that a mouth makes: recognition is never taught that these hold no speech.
VOCAL_SOUNDS = frozenset({"crying baby", "sneezing", "clapping", "breathing", "coughing", "laughing", "snoring", "drinking sipping"})


def join_captions(first: str, second: str) -> str:
    """The caption of two sounds mixed."""
    return f"{first} and {second}"


@cache
def _index() -> tuple[dict[str, str], dict[str, set[str]], dict[str, float]]:
    """Wording -> class; class -> the stems of its words; stem -> weight, which is high for a word that few classes use."""
    wordings = {_clean(text): sound for sound, texts in CAPTIONS.items() for text in [sound, *texts]}
    stems = {sound: {stem for text in [sound, *texts] for stem in _stems(text)} for sound, texts in CAPTIONS.items()}
    classes_of = Counter(stem for words in stems.values() for stem in words)
    return wordings, stems, {stem: math.log(len(stems) / n) for stem, n in classes_of.items()}


def _clean(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def _stems(text: str) -> set[str]:
    """The words without the endings of plurals and verbs: crude, and enough to bring "bell rings" and "bells ringing" together."""
    return {re.sub(r"(?<=\w{3})(?:ing|es|s)$", "", word) for word in _clean(text).split()}


def sound_of(caption: str) -> str | None:
    """The class that a caption names, None when it names none. One of our wordings is its class; other captions go to the class
    whose wordings share the most telling words (at least as telling as one word that four of the 50 classes use)."""
    wordings, stems, weight = _index()
    if (text := _clean(caption)) in wordings:
        return wordings[text]
    own = _stems(text)
    scores = {sound: sum(weight[stem] for stem in own & words) for sound, words in stems.items()}
    best = max(scores, key=lambda sound: scores[sound])
    return best if scores[best] >= math.log(len(stems) / 4) else None
