"""Who judges generated sound: a recogniser writes down the words in it.

In: a `Group` of `speak` or `enhance` with its answers, and the store that has their sounds. Out: the same answers with `texts[judge.key]`,
in the store as well, so that another judge does not have anything spoken again. For speech, `text` is what the judge recognises; what this
model recognises itself if the judge does not know the language.
"""

from functools import partial

from lauragpt.data.manifest import Example
from lauragpt.evaluate.answers import Answer, AnswerStore, has_words
from lauragpt.evaluate.groups import Group
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.recognisers import Recogniser
from lauragpt.evaluate.sound_metrics import parallel_map
from lauragpt.evaluate.systems import AUDIO_BATCH, batches


def judge_answers(judge: Recogniser, group: Group, store: AnswerStore) -> str:
    """The reason why the group cannot be judged; "" if it was. MissingPackage without the judge's package."""
    if group.task not in ("tts", "se"):
        return ""
    name = "itself"
    if judge.knows(group.lang):
        name = judge.key
        pairs = [(e, answers) for e, answers in zip(group.examples, group.answers) if any(_open(judge, e, a) for a in answers.values())]
        for batch in batches(pairs, AUDIO_BATCH):
            _judge(judge, [(e, a) for e, answers in batch for a in answers.values() if _open(judge, e, a)], group.lang, store)
            for example, answers in batch:
                store.add(example, list(answers.values()))
    if group.task == "tts":
        answers = [answer for by_variant in group.answers for answer in by_variant.values() if not answer.failure]
        if any(name not in answer.texts for answer in answers):
            return f"{judge.name} was not trained on {group.lang}: give --judge whisper:FOLDER with a model that was"
        for answer in answers:
            answer.text = answer.texts[name]
    return ""


def _open(judge: Recogniser, example: Example, answer: Answer) -> bool:
    return has_words(example, answer) and judge.key not in answer.texts


def _judge(judge: Recogniser, pairs: list[tuple[Example, Answer]], lang: str, store: AnswerStore) -> None:
    waves = [store.wave(answer) if answer.sound else input_wave(example) for example, answer in pairs]
    work = partial(judge.recognise, lang=lang)
    for (_, answer), text in zip(pairs, parallel_map(work, waves) if judge.single else map(work, waves), strict=True):
        answer.texts[judge.key] = text
