"""What nobody would send on purpose: real files that were damaged, and whatever the description of the API allows. The server refuses what
the package refuses, answers the rest, and never fails."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from servers import clip, http, serving
from sounds import by_av, encoded

from lauragpt.audio import check_length, decode_audio
from lauragpt.errors import LauraError
from lauragpt.serve import progress
from lauragpt.serve.app import make_app
from lauragpt.serve.settings import Limits, Settings

WAVE = decode_audio(clip("digits-4"))
SOFT = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}


@pytest.fixture(autouse=True)
def no_request_comes(monkeypatch):
    """Nobody waits for the requests whose names are made up here."""
    monkeypatch.setattr(progress, "ARRIVAL", 0.3)


WRITTEN = (
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"), ("CAF", "PCM_16"), ("AU", "ULAW"), ("W64", "PCM_16"),
)  # fmt: skip
REAL = [encoded(WAVE, format=format, subtype=subtype) for format, subtype in WRITTEN]
REAL += [by_av(WAVE, 16000, container, codec) for container, codec in (("mp4", "aac"), ("matroska", "libopus"), ("adts", "aac"))]
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")  # as lengths, rates and counts are


@st.composite
def damaged(draw) -> bytes:
    """A real file of which parts are overwritten, cut out, doubled or exchanged, most of them near its beginning, where headers are."""
    data = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 6))):
        far = draw(st.sampled_from((16, 64, 256, len(data))))
        start = draw(st.integers(0, max(0, min(far, len(data)) - 1)))
        end = min(len(data), start + draw(st.integers(1, 64)))
        match draw(st.sampled_from(("write", "number", "cut", "end", "double", "other"))):
            case "write":
                data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "number":
                data[start : start + 4] = draw(st.sampled_from(NUMBERS))
            case "cut":
                del data[start:end]
            case "end":
                del data[start:]
            case "double":
                data[start:start] = data[start:end]
            case "other":
                data[start:end] = draw(st.sampled_from(REAL))[start:end]
    return bytes(data)


def check_upload(address: str, data: bytes, counts: dict[bool, int]) -> None:
    """400 where the package refuses the file, else an answer. `counts`: how many were refused, and how many not."""
    try:
        check_length(decode_audio(data), "the file")
        status = 200
    except LauraError:
        status = 400
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": data})
    assert answer.status_code == status, (answer.text, data[:64])
    if status == 400:
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error" and "\n" not in error["message"] and "Traceback" not in error["message"]
    counts[status == 400] += 1


@pytest.mark.parametrize("refused", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::lauragpt.errors.LauraWarning")
def test_damaged_files(address, refused):
    """So many that cannot be read, among others that still can."""
    counts = {True: 0, False: 0}

    @settings(max_examples=10 * refused, **SOFT)
    @given(damaged())
    def check(data: bytes) -> None:
        if counts[True] < refused:
            check_upload(address, data, counts)

    check()
    assert counts[True] == refused and counts[False]


FORM = b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\nen\r\n'
FORM += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(200) + b"\r\n--x--\r\n"


@given(boundary=st.text("xy-,;= \"", max_size=8), body=st.binary(max_size=64), cut=st.integers(0, 400), at=st.integers(0, 400))
@settings(max_examples=60, **SOFT)
def test_damaged_forms(address, boundary, body, cut, at):
    """Forms of which something is missing, or stands in the wrong place."""
    data = FORM[:at] + body + FORM[at + cut :]
    kind = {"content-type": f"multipart/form-data; boundary={boundary if cut % 2 else 'x'}".rstrip()}
    answer = http.post(f"{address}/v1/audio/transcriptions", content=data, headers=kind)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def strict():
    """A server that lets nobody ask for much: chance would else ask it for an hour of speech."""
    with serving(Settings(limits=Limits(characters=30, seconds=5, held_seconds=600, voices=5))) as (address, _):
        yield address


schemathesis.openapi.format("binary", st.sampled_from([clip("digits-4"), *REAL[:3], b"", b"no sound"]))
DESCRIPTION = make_app(Settings()).openapi()
OPERATIONS = [
    (path, method, mode)
    for path, methods in DESCRIPTION["paths"].items()
    for method, about in methods.items()
    for mode in GenerationMode
    if "requestBody" in about or mode == GenerationMode.POSITIVE  # where nothing is sent, nothing can be wrong
]


@pytest.mark.parametrize("path, method, mode", OPERATIONS)
def test_what_the_description_allows_and_what_it_does_not(strict, path, method, mode):
    """Whatever is sent to any path, the answer is no 5xx."""
    operation = schemathesis.openapi.from_dict(DESCRIPTION)[path][method.upper()]

    @settings(max_examples=6, **SOFT)
    @given(operation.as_strategy(generation_mode=mode))
    def check(case) -> None:
        case.call_and_validate(base_url=strict, checks=[not_a_server_error])

    check()
