"""/v1/audio/transcriptions and translations through OpenAI's own client: the answers are those of the package, the shapes OpenAI's."""

import json
import math

import numpy as np
import pytest
from openai.types.audio import TranscriptionVerbose
from servers import clip, encoded, http

from lauragpt.audio import decode_audio

CLIP = clip("librispeech-2136")


@pytest.fixture(scope="module")
def known(laura):
    return laura.transcribe(CLIP)


def test_json(client, known):
    answer = client.audio.transcriptions.create(model="whisper-1", file=("talk.opus", CLIP))
    assert answer.text == known.text and answer.usage.type == "duration" and answer.usage.seconds == math.ceil(2.59)


@pytest.mark.parametrize("format, write", [("text", "to_text"), ("srt", "to_srt"), ("vtt", "to_vtt")])
def test_what_is_no_json(client, known, format, write):
    answer = client.audio.transcriptions.create(model="mini", file=("talk.opus", CLIP), response_format=format)
    assert answer.rstrip("\n") == getattr(known, write)().rstrip("\n")


def test_verbose_json(client, known):
    options = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"], "language": "en"}
    answer = client.audio.transcriptions.create(model="mini", file=("talk.opus", CLIP), **options)
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.text, answer.language, answer.duration) == (known.text, "english", 2.59)
    words = [(word.text, word.start, word.end) for segment in known.segments for word in segment.words]
    assert [(word.word, word.start, word.end) for word in answer.words] == words and len(words) == len(known.text.split())
    [segment] = answer.segments
    assert (segment.id, segment.start, segment.end, segment.text) == (0, 0.0, 2.59, known.text)
    assert segment.avg_logprob == pytest.approx(math.log(known.segments[0].confidence)) and segment.tokens
    assert answer.model_extra["receipt"] == known.receipt | {"asked_lang": "en"}


def test_fields_of_verbose_json_are_openais(address):
    def fields(granularities):
        form = {"response_format": "verbose_json", "timestamp_granularities[]": granularities}
        return set(http.post(f"{address}/v1/audio/transcriptions", files={"file": CLIP}, data=form).json())

    always = {"task", "language", "duration", "text", "usage", "receipt"}
    assert fields([]) == fields(["segment"]) == always | {"segments"}
    assert fields(["word"]) == always | {"words"}


def test_a_stream_of_events(client, laura):
    talk = clip("librispeech-6272")
    events = list(client.audio.transcriptions.create(model="mini", file=("talk.opus", talk), stream=True))
    assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1) and len(events) > 1
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == laura.transcribe(talk).text


def test_silence_has_an_empty_transcript(client):
    silence = encoded(np.zeros(16000))
    assert client.audio.transcriptions.create(model="mini", file=("silence.wav", silence)).text == ""
    [done] = client.audio.transcriptions.create(model="mini", file=("silence.wav", silence), stream=True)
    assert done.type == "transcript.text.done" and done.text == ""


def test_translation(client, laura):
    german = clip("kerstin")
    into_english = laura.translate(german, to="en").text
    assert client.audio.translations.create(model="whisper-1", file=("rede.opus", german)).text == into_english
    answer = client.audio.translations.create(model="mini", file=("rede.opus", german), response_format="verbose_json")
    assert (answer.language, answer.text) == ("english", into_english)
    answer = client.audio.translations.create(model="mini", file=("talk.opus", CLIP), extra_body={"to": "de", "language": "en"})
    assert answer.text == laura.translate(CLIP, to="de", lang="en").text
    assert answer.to_dict().keys() == {"text"}


def test_the_receipt_and_what_was_ignored(client, known):
    options = {"prompt": "names: Laura", "temperature": 0.5}
    answer = client.audio.transcriptions.with_raw_response.create(model="mini", file=("talk.opus", CLIP), **options)
    assert answer.headers["x-laura-ignored"] == "prompt, temperature"
    assert json.loads(answer.headers["x-laura-receipt"]) == known.receipt
    answer = client.audio.transcriptions.with_raw_response.create(model="mini", file=("talk.opus", CLIP))
    assert "x-laura-ignored" not in answer.headers


def test_a_stream_of_words(address, laura):
    """Together the events hold what `verbose_json` holds, and each says how far the reading has come."""
    speech = decode_audio(clip("librispeech-6272"))
    talk = encoded(np.concatenate([speech, np.zeros(24000)] * 4))
    form = {"stream": "true", "response_format": "verbose_json"}
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": talk}, data=form)
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    known = laura.transcribe(talk)
    words = [(word.text, word.start, word.end) for segment in known.segments for word in segment.words]
    heard = [word for delta in deltas for word in delta["words"]]
    assert [(word["word"], word["start"], word["end"]) for word in heard] == words and len(deltas) > 1
    confidences = [word.confidence for segment in known.segments for word in segment.words]
    assert [word["confidence"] for word in heard] == pytest.approx(confidences, abs=0.01)
    assert done["text"] == known.text and done["receipt"].items() <= known.receipt.items()
    assert [delta["end"] for delta in deltas] == sorted(delta["end"] for delta in deltas)
    assert deltas[-1]["end"] >= known.segments[-1].end  # silence behind the last word was read as well


def test_words_have_their_confidence(address, known):
    form = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    words = http.post(f"{address}/v1/audio/transcriptions", files={"file": CLIP}, data=form).json()["words"]
    assert [word["confidence"] for word in words] == [word.confidence for segment in known.segments for word in segment.words]


def test_a_stream_of_silence_says_how_far_it_was_read(address):
    form = {"stream": "true", "response_format": "verbose_json"}
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": encoded(np.zeros(32000))}, data=form)
    delta, done = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert (delta["delta"], delta["end"], delta["words"]) == ("", 2.0, []) and done["receipt"]["finish"] == "empty"
