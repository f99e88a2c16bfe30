"""`laura mcp` as programs of assistants see it: the official client on a real process, the checkpoint and the recordings that ship."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import anyio
import numpy as np
import pytest
import soundfile
from mcp import Client, StdioServerParameters
from pages import CLIPS, ROOT, blocks

from lauragpt.audio import load_audio
from lauragpt.engine.api import Laura
from lauragpt.engine.chain import VERBS
from lauragpt.engine.replay import replay
from lauragpt.errors import LauraError
from lauragpt.serve.desk import Bounded, Watched

TALK, DIGIT, VOICE = "librispeech-2136-5147-0021.opus", "digits-4_theo_0.opus", "ravdess-03-01-03-01-01-01-20.opus"
ORDER, RAIN = "barista-458e9432-c9c7-45f1-8887-0490fbccca6d.opus", "esc50-4-160999-A-10.opus"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
COMMAND = ["-m", "lauragpt", "mcp"]


@pytest.fixture
def folder(tmp_path):
    """A folder with the recordings that ship; beside it one that is not allowed."""
    for name in ("recordings", "private"):
        (tmp_path / name).mkdir()
    for clip in CLIPS.glob("*.opus"):
        shutil.copy(clip, tmp_path / "recordings")
    shutil.copy(CLIPS / TALK, tmp_path / "private" / "secret.opus")
    return tmp_path / "recordings"


@pytest.fixture(scope="module")
def laura():
    return Laura.load(threads=1)


def connected(arguments: list, use, mode: str = "auto"):
    """What `use(client)` gives, of a server with these arguments."""

    async def run():
        server = StdioServerParameters(command=sys.executable, args=[*COMMAND, *map(str, arguments), "--threads", "1"], env=ENVIRONMENT)
        async with Client(server, mode=mode) as client:
            return await use(client)

    return anyio.run(run)


def calls(folder, *each: tuple[str, dict], mode: str = "auto") -> list:
    async def use(client):
        return [await client.call_tool(name, arguments) for name, arguments in each]

    return connected([folder], use, mode)


def refusal(answer) -> str:
    """The one line that says what was wrong."""
    [line] = answer.content
    assert answer.is_error and answer.structured_content is None and len(line.text.splitlines()) == 1
    return line.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_each_verb_is_a_tool_that_says_what_it_is_for(folder, mode):
    async def use(client):
        return client.instructions, (await client.list_tools()).tools

    instructions, tools = connected([folder, folder.parent / "private"], use, mode)
    assert str(folder) in instructions and str(folder.parent / "private") in instructions
    assert {tool.name for tool in tools} == {*VERBS, "chain"}
    for tool in tools:
        properties = tool.input_schema["properties"]
        assert tool.title and len(tool.description.split()) >= 10 and "  " not in tool.description
        assert all(each["description"] and each["type"] in ("string", "boolean", "integer") for each in properties.values())
        assert tool.annotations.read_only_hint == ("out" not in properties) and not tool.annotations.open_world_hint
        assert "receipt" in tool.output_schema["required"]
    by_name = {tool.name: tool.input_schema for tool in tools}
    assert by_name["translate"]["properties"]["to"]["enum"] == ["en", "de"]
    assert "kerstin (de)" in by_name["speak"]["properties"]["voice"]["description"]
    assert by_name["speak"]["required"] == ["text", "out"] and by_name["transcribe"]["required"] == ["file"]


def test_every_verb_answers_as_the_model_does_and_its_receipt_gives_the_answer_again(folder, laura):
    several = [
        ("transcribe", {"file": TALK, "lang": "en", "word_times": True}),
        ("translate", {"file": str(folder / TALK), "to": "de"}),
        ("translate", {"text": "A man rides a horse.", "to": "de", "lang": "en"}),
        ("speak", {"text": "Good morning.", "out": "morning.wav", "seed": 3}),
        ("speak", {"text": "Good morning.", "out": "checked.flac", "voice": "slt", "verify": 2}),
        ("speak", {"text": "Good morning.", "out": "mine.wav", "lang": "en", "voice": DIGIT, "voice_text": "four"}),
        ("enhance", {"file": TALK, "out": "clean.wav", "verify": True}),
        ("caption", {"file": RAIN}),
        ("emotion", {"file": VOICE}),
        ("understand", {"file": ORDER, "lang": "en"}),
        ("chain", {"file": TALK, "steps": "enhance | transcribe"}),
        ("chain", {"file": TALK, "steps": "transcribe | speak", "out": str(folder / "again.wav"), "seed": 1}),
    ]
    answers = calls(folder, *several)
    for (verb, arguments), answer in zip(several, answers, strict=True):
        row, said = answer.structured_content, [each.text for each in answer.content]
        failed = row["receipt"].get("failed")
        assert answer.is_error == bool(failed), said
        assert row["receipt"]["model"] == "mini" and row["segments"], row
        assert (row["file"] == str(folder / TALK)) == (arguments.get("file") in (TALK, str(folder / TALK)))
        if "out" in arguments:
            path = folder / arguments["out"]
            assert row["audio"] == str(path) and str(path) in said[0]
            assert soundfile.info(path).duration == pytest.approx(row["seconds"], abs=1e-3)
        else:
            assert said[0] == row["text"]
        if not arguments.get("verify") or verb == "enhance":  # of a verified try the receipt does not hold the seed that was asked for
            assert replay(laura, row) == [], (verb, arguments)
        assert any("words" in segment for segment in row["segments"]) == bool(arguments.get("word_times"))
    expected = json.loads(laura.transcribe(folder / TALK, lang="en").to_json(file=str(folder / TALK)))
    assert answers[0].structured_content == expected
    assert "recognised after" in answers[4].content[1].text and set(answers[8].structured_content["scores"]) >= {"happy", "sad"}
    assert answers[9].structured_content["intent"] and answers[10].structured_content["receipt"]["steps"]


def test_answers_go_into_files_in_the_format_of_their_suffix(folder, laura):
    result = laura.transcribe(folder / TALK)
    suffixes = {".txt": result.to_text(), ".srt": result.to_srt(), ".vtt": result.to_vtt(), ".tsv": result.to_tsv(),
                ".json": result.to_json(file=str(folder / TALK))}  # fmt: skip
    answers = calls(folder, *(("transcribe", {"file": TALK, "out": f"talk{suffix}"}) for suffix in suffixes))
    for (suffix, text), answer in zip(suffixes.items(), answers, strict=True):
        assert (folder / f"talk{suffix}").read_text() == text.rstrip("\n") + "\n"
        assert not answer.is_error and str(folder / f"talk{suffix}") in answer.content[0].text


def test_files_elsewhere_are_refused_alike_whether_they_exist_or_not(folder):
    private, before = folder.parent / "private", sorted(folder.parent.rglob("*"))
    (folder / "link.opus").symlink_to(private / "secret.opus")
    (folder / "nowhere.opus").symlink_to(private / "nothing.opus")
    (folder / "door").symlink_to(private)
    there = ["../private/secret.opus", str(private / "secret.opus"), "link.opus", "door/secret.opus"]
    absent = ["../private/nothing.opus", str(private / "nothing.opus"), "nowhere.opus", "door/nothing.opus", "/nothing", "a\0b"]
    asked = [
        *(("transcribe", {"file": name}) for name in there + absent),
        *(("speak", {"text": "Good morning.", "out": "new.wav", "voice": name}) for name in there + absent),
        *(("enhance", {"file": DIGIT, "out": name, "overwrite": True}) for name in there + absent),
    ]
    names = [name for _ in range(3) for name in there + absent]
    told = {refusal(answer).replace(repr(name), "NAME") for name, answer in zip(names, calls(folder, *asked), strict=True)}
    assert told == {f"NAME is not below {folder}: only files there are read and written"}
    for path in ("link.opus", "nowhere.opus", "door"):
        (folder / path).unlink()
    assert sorted(folder.parent.rglob("*")) == before
    assert (private / "secret.opus").read_bytes() == (CLIPS / TALK).read_bytes()


def test_what_is_wrong_with_a_call_is_one_line(folder):
    (folder / "noise.wav").write_bytes(os.urandom(3000))
    (folder / "empty.wav").write_bytes(b"")
    (folder / "short.wav").write_bytes((folder / DIGIT).read_bytes()[:40])
    os.mkfifo(folder / "pipe.wav")
    (folder / "old.wav").write_bytes(b"old")
    wrong = [
        ("transcribe", {"file": "nothing.wav"}, f"{folder}/nothing.wav: no such file"),
        ("transcribe", {"file": "noise.wav"}, "noise.wav"), ("transcribe", {"file": "empty.wav"}, "is empty (0 bytes)"),
        ("transcribe", {"file": "short.wav"}, "short.wav"), ("transcribe", {"file": "pipe.wav"}, "not a file"),
        ("transcribe", {"file": ""}, "is not below"), ("transcribe", {}, "file: Field required"),
        ("transcribe", {"file": TALK, "language": "en"}, "no argument 'language': it takes file, lang,"),
        ("transcribe", {"file": TALK, "lang": "fr"}, "lang: Input should be 'en' or 'de'"),
        ("transcribe", {"file": [TALK]}, "file: Input should be a valid string"),
        ("transcribe", {"file": TALK, "out": "talk.wav"}, "is written as .txt, .json, .jsonl, .srt, .vtt, .tsv"),
        ("translate", {"to": "de"}, "give one of them"), ("translate", {"to": "de", "text": "a", "file": TALK}, "give one of them"),
        ("translate", {"to": "de", "text": " "}, "the text is empty"), ("speak", {"text": "", "out": "new.wav"}, "the text is empty"),
        ("speak", {"text": "a", "out": "new.wav", "voice": "anna"}, "not a file, nor a voice's name (kathleen, kerstin, slt)"),
        ("speak", {"text": "a", "out": "new.wav", "verify": 11}, "verify: Input should be less than or equal to 10"),
        ("enhance", {"file": TALK, "out": "old.wav"}, "old.wav exists already"),
        ("enhance", {"file": TALK, "out": TALK, "overwrite": True}, "is written as .wav"),
        ("enhance", {"file": "old.wav", "out": "old.wav", "overwrite": True}, "is an input and would be overwritten"),
        ("enhance", {"file": TALK, "out": "nowhere/new.wav"}, "does not exist"),
        ("chain", {"file": TALK, "steps": "sing"}, "chain step 'sing' is unknown"),
        ("chain", {"file": TALK, "steps": "enhance"}, "say where to write it, as out"),
        ("sing", {}, "Unknown tool: sing"),
    ]  # fmt: skip
    before = sorted(folder.iterdir())
    answers = calls(folder, *(each[:2] for each in wrong))
    for (_, _, says), answer in zip(wrong, answers, strict=True):
        assert says in refusal(answer)
    assert sorted(folder.iterdir()) == before and (folder / "old.wav").read_bytes() == b"old"


def test_a_recording_is_decoded_no_further_than_is_allowed(folder, laura):
    """A minute of silence in some hundred bytes stands for days of it."""
    soundfile.write(folder / "long.flac", np.zeros(60 * 16000), 16000)
    assert (folder / "long.flac").stat().st_size < 20_000
    asked = [
        ("transcribe", {"file": "long.flac"}),
        ("speak", {"text": "Good morning.", "out": "new.wav", "voice": "long.flac"}),
        ("transcribe", {"file": DIGIT}),
    ]

    async def use(client):
        return [await client.call_tool(name, arguments) for name, arguments in asked]

    *refused, short = connected([folder, "--max-seconds", "30"], use)
    for answer in refused:
        assert refusal(answer).endswith("long.flac is longer than 30 s: cut it, or start laura mcp with a higher --max-seconds")
    assert short.content[0].text == "four" and not (folder / "new.wav").exists()
    bounded = Bounded(folder / "long.flac", 30)
    with pytest.raises(LauraError):
        for count, _ in enumerate(bounded.seconds(), 1):
            assert count <= 30


def test_a_text_is_what_it_is_and_null_is_left_out(folder):
    """The protocol's package reads texts as JSON where they need not be texts."""
    texts = ("null", "[1]", '{"a": 1}', "true", "-")
    asked = [("translate", {"text": text, "to": "de", "lang": "de", "file": None, "out": None}) for text in texts]
    assert [answer.content[0].text for answer in calls(folder, *asked)] == list(texts)  # it is in German already


def test_what_a_person_should_know_is_a_note(folder):
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "old.wav", load_audio(folder / TALK), 16000)
    (folder / "cut.wav").write_bytes((folder / "old.wav").read_bytes()[:40000])
    asked = (
        ("transcribe", {"file": "silence.wav"}),
        ("transcribe", {"file": "cut.wav"}),
        ("translate", {"text": "A man rides a horse.", "to": "en"}),
    )
    silent, cut, same = ([each.text for each in answer.content] for answer in calls(folder, *asked))
    assert silent[0].startswith("the answer is empty") and silent[1].startswith("note: no sound in it")
    assert cut[1].startswith("note: ") and "cut short" in cut[1]
    assert same[0] == "A man rides a horse." and same[1].startswith("note: ")
    [over] = calls(folder, ("speak", {"text": "Good morning.", "out": "old.wav", "overwrite": True}))
    assert soundfile.info(folder / "old.wav").duration == pytest.approx(over.structured_content["seconds"], abs=1e-3)


def make_long(folder) -> None:
    """Nearly two minutes, of which one is silent: it is done at once, and that is reported before the work on the rest begins."""
    wave = np.concatenate([np.zeros(60 * 16000, np.float32), np.tile(load_audio(folder / TALK), 20)])
    soundfile.write(folder / "long.wav", wave, 16000)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_long_call_reports_progress_and_can_be_cancelled(folder, mode):
    make_long(folder)
    before, reports = sorted(folder.iterdir()), []

    async def use(client):
        with anyio.CancelScope() as scope:

            async def hear(done, total, message):
                reports.append((done, total, message))
                scope.cancel()

            await client.call_tool("enhance", {"file": "long.wav", "out": "new.wav"}, progress_callback=hear)
        # Calls are answered one after the other: had that one gone on, its file would be there before this answer.
        return scope.cancelled_caught, await client.call_tool("transcribe", {"file": DIGIT}), (folder / "new.wav").exists()

    cancelled, after, written = connected([folder], use, mode)
    [(done, total, message)] = reports
    assert cancelled and 0 < done < total == pytest.approx(111.8, abs=0.1) and message.endswith("of 112 s of sound")
    assert after.content[0].text == "four" and not written and sorted(folder.iterdir()) == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(folder):
    make_long(folder)

    async def use(client):
        async def hear(*_):
            (folder / "new.txt").write_text("of somebody else")

        return await client.call_tool("transcribe", {"file": "long.wav", "out": "new.txt"}, progress_callback=hear)

    assert "new.txt exists already" in refusal(connected([folder], use))
    assert (folder / "new.txt").read_text() == "of somebody else"


def test_progress_grows(folder):
    make_long(folder)
    reports = []

    async def use(client):
        async def hear(done, total, message):
            reports.append((done, total))
            (folder / "long.wav").unlink(missing_ok=True)  # it is read by then

        return await client.call_tool("chain", {"file": "long.wav", "steps": "transcribe | translate:de"}, progress_callback=hear)

    answer = connected([folder], use)
    assert not answer.is_error and answer.structured_content["file"] == str(folder / "long.wav")
    assert all(before[0] < after[0] for before, after in itertools.pairwise(reports)) and len(reports) > 2
    assert reports[-1][0] == pytest.approx(reports[-1][1])


def test_calls_at_once_get_each_their_own_answer(folder, laura):
    async def use(client):
        answers = {}

        async def ask(name):
            answers[name] = (await client.call_tool("transcribe", {"file": name})).structured_content

        async with anyio.create_task_group() as group:
            for name in (TALK, DIGIT, ORDER, "digits-7_theo_0.opus"):
                group.start_soon(ask, name)
        return answers

    for name, row in connected([folder], use).items():
        assert row["file"] == str(folder / name) and row["text"] == laura.transcribe(folder / name).text


def test_work_stops_at_the_next_step_of_the_networks(folder, laura):
    class Stop(BaseException):
        pass

    uses, last = 0, float("inf")

    def check():
        nonlocal uses
        uses += 1
        if uses > last:
            raise Stop

    watched = laura.with_backend(Watched(laura.runtime.backend, check))
    whole = watched.transcribe(folder / TALK)
    assert whole.to_json() == laura.transcribe(folder / TALK).to_json() and uses > 20  # the session's steps as well
    uses, last = 0, 15
    with pytest.raises(Stop):
        watched.transcribe(folder / TALK)
    assert uses == 16


def test_what_cannot_be_written_is_told(folder):
    before = sorted(folder.iterdir())

    async def run():
        line = f'ulimit -f 0; exec "{sys.executable}" {" ".join(COMMAND)} "{folder}"'  # every file that it writes is too large
        async with Client(StdioServerParameters(command="sh", args=["-c", line], env=ENVIRONMENT)) as client:
            told = await client.call_tool("transcribe", {"file": DIGIT, "out": "new.txt"})
            spoken = await client.call_tool("speak", {"text": "Good morning.", "out": "new.wav"})
            return told, spoken, await client.call_tool("transcribe", {"file": DIGIT})

    *failed, whole = anyio.run(run)
    assert all(f"{folder}/new" in refusal(each) and "cannot be written" in refusal(each) for each in failed)
    assert whole.content[0].text == "four" and sorted(folder.iterdir()) == before


class Raw:
    """The process without a client, line by line, by the protocol's older form."""

    def __init__(self, *arguments: object):
        command = [sys.executable, *COMMAND, *map(str, arguments), "--threads", "1"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it, and so would this one
        self.process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, text=True, preexec_fn=heed, **pipes)
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        self.send(id=1, method="initialize", params=about)
        assert self.read()["result"]["serverInfo"]["name"] == "laura"
        self.send(method="notifications/initialized")

    def send(self, **message: object) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self.process.stdin.flush()

    def call(self, number: int, name: str, **arguments: object) -> None:
        self.send(id=number, method="tools/call", params={"name": name, "arguments": arguments, "_meta": {"progressToken": number}})

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())


def test_nothing_but_the_protocol_is_on_stdout(folder):
    raw = Raw(folder)
    for line in ("no json", "[]", '{"jsonrpc": "2.0", "id": 7, "method": "nothing"}'):
        raw.process.stdin.write(line + "\n")
    raw.call(2, "transcribe", file=TALK)
    raw.call(3, "speak", text="Good morning.", out="new.wav")
    raw.call(4, "transcribe", file="../private/secret.opus")
    messages = []
    while {2, 3, 4} - {message.get("id") for message in messages}:
        messages.append(raw.read())
    output, errors = raw.process.communicate()  # closes stdin, which ends it
    messages += map(json.loads, output.splitlines())
    assert raw.process.returncode == 0 and all(message["jsonrpc"] == "2.0" for message in messages)
    [text] = [message["result"]["structuredContent"]["text"] for message in messages if message.get("id") == 2]
    assert text and not any(word in errors for word in ("Traceback", "secret", text))


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "closed"])
def test_it_ends_while_it_works_and_leaves_nothing_half_written(folder, way):
    make_long(folder)
    before, raw = sorted(folder.iterdir()), Raw(folder)
    raw.call(2, "enhance", file="long.wav", out="new.wav")
    assert raw.read()["method"] == "notifications/progress"
    if way == "closed":
        raw.process.stdin.close()
    else:
        raw.process.send_signal(getattr(signal, way))
    assert raw.process.wait() == (0 if way == "closed" else 128 + getattr(signal, way))
    assert sorted(folder.iterdir()) == before and "Traceback" not in raw.process.stderr.read()
    raw.process.stdout.close()


def test_a_signal_ends_it_while_its_client_is_silent(folder):
    raw = Raw(folder)
    raw.process.send_signal(signal.SIGTERM)
    assert raw.process.wait() == 128 + signal.SIGTERM and raw.process.communicate() == ("", "")


def started(*command: str, **how: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], env=os.environ | ENVIRONMENT, capture_output=True, text=True, **how)


@pytest.mark.parametrize("first", ["mcp", "anyio"])  # anyio comes with it
def test_without_the_package_it_says_how_to_get_it(folder, first):
    """The plain install does not have it."""
    program = f"import sys; sys.modules[{first!r}] = None; from lauragpt.cli.app import app; app(['mcp', {str(folder)!r}])"
    done = started("-c", program, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"laura: {first} is missing: run pip install -e '.[mcp]' in the clone of lauragpt\n"


def test_wrong_usage_is_one_line(folder):
    for arguments in ([], [folder / "nothing"], [folder, folder / TALK], [folder, "--device", "tape"]):
        done = started(*COMMAND, *map(str, arguments), stdin=subprocess.DEVNULL)
        assert done.returncode == (1 if "--device" in arguments else 2)
        assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("laura: ")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_streams_are_told(folder, closed):
    line = f'"{sys.executable}" -m lauragpt mcp "{folder}" {closed}'
    done = subprocess.run(line, shell=True, env=os.environ | ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stderr.startswith("laura: stdin or stdout is closed")


def test_the_configuration_in_the_docs_starts_it(folder):
    [block] = blocks(ROOT / "docs" / "mcp.md", "json")
    [server] = json.loads(block)["mcpServers"].values()
    verb, *arguments = [argument.replace("/home/me/recordings", str(folder)) for argument in server["args"]]
    assert (server["command"], verb) == ("laura", COMMAND[-1])

    async def use(client):
        return await client.call_tool("transcribe", {"file": DIGIT})

    assert connected(arguments, use).content[0].text == "four"


def test_the_table_in_the_docs_names_every_tool():
    text = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == {*VERBS, "chain"}
