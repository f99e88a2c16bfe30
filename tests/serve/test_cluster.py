"""A cluster of two machines, of which one is lost under load: no request that was taken is lost."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pages
import pytest
from servers import clip, http

from lauragpt.errors import LauraError

VOICE = {"name": "anna", "consent": "yes", "text": "The night was calm and snowy.", "language": "en"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a replica on each of two machines, and how to lose the second machine."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from lauragpt.serve.cluster import Options, build

    machines, port = Cluster(), free_port()
    try:
        machines.add_node(num_cpus=1, include_dashboard=False)
        second = machines.add_node(num_cpus=1)
        ray.init(address=machines.address, log_to_driver=False)
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        voices = tmp_path_factory.mktemp("voices")
        serve.run(build(Options(voices=voices, threads=1, min_replicas=2, max_replicas=2)))
        yield f"http://127.0.0.1:{port}", lambda: machines.remove_node(second, allow_graceful=False)
        serve.shutdown()
    finally:
        ray.shutdown()
        machines.shutdown()


@pytest.mark.slow
def test_a_cluster_answers_as_one_server_does(cluster, address, laura):
    """Whichever replica answers: transcripts, events, speech while it is made, voices, errors."""
    for there in (cluster[0], address):
        assert http.post(f"{there}/v1/voices", files={"audio_sample": clip("kathleen")}, data=VOICE).status_code == 200
    talk, speech = {"file": clip("librispeech-2136")}, {"input": "One, two.", "voice": "anna", "response_format": "pcm"}
    asked = [
        ("/v1/audio/transcriptions", {"files": talk, "data": {"response_format": "text"}}),
        ("/v1/audio/transcriptions", {"files": talk, "data": {"stream": "true"}}),
        ("/v1/audio/speech", {"json": speech}), ("/v1/audio/speech", {"json": speech | {"stream_format": "audio"}}),
        ("/v1/audio/speech", {"json": {"input": "One.", "voice": "nobody"}}), ("/v1/nothing", {}),
        ("/v1/audio/transcriptions", {"files": {"file": b"not sound"}}), ("/v1/audio/transcriptions", {}),
    ]  # fmt: skip
    for path, what in asked * 2:
        here, there = (http.post(f"{each}{path}", **what) for each in (address, cluster[0]))
        assert (there.status_code, there.content) == (here.status_code, here.content)
        assert there.headers["content-type"] == here.headers["content-type"]
    assert http.get(f"{cluster[0]}/v1/models", headers={"origin": "http://elsewhere"}).status_code == 403
    assert http.get(f"{cluster[0]}/v1/models").json()["data"][0]["id"] == laura.runtime.info.name


@pytest.mark.slow
def test_no_request_is_lost_with_a_machine(cluster, laura):
    """Eight clients ask on and on, so that both machines have requests in hand when one is lost."""
    address, lose = cluster
    talks = [clip(name) for name in ("librispeech-2136", "kathleen")]
    known, answers, lost = [laura.transcribe(talk).text for talk in talks], [], threading.Event()

    def ask(number: int) -> None:
        behind = 0  # of its requests, those that began when the machine was lost
        while behind < 2:
            behind += lost.is_set()
            answers.append((number % 2, http.post(f"{address}/v1/audio/transcriptions", files={"file": talks[number % 2]})))

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, number) for number in range(8)]
        while len(answers) < 16 and not any(client.done() for client in clients):
            time.sleep(0.01)
        lose()
        lost.set()
        assert [client.result() for client in clients] == [None] * 8
    assert [answer.status_code for _, answer in answers] == [200] * len(answers)
    assert [answer.json()["text"] for _, answer in answers] == [known[number] for number, _ in answers]
    assert {answer.headers["x-laura-tries"] for _, answer in answers} == {"1", "2"}


@pytest.mark.slow
def test_the_folder_of_voices_is_made_once_for_all(tmp_path):
    from lauragpt.serve.cluster import Options, build

    for _ in range(2):
        build(Options(voices=tmp_path / "new" / "voices"))
    assert (tmp_path / "new" / "voices").is_dir()
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", Path("/proc")):  # /proc is there, and nobody can write into it
        with pytest.raises(LauraError, match=f"^{wrong} cannot be written .*: choose another folder"):
            build(Options(voices=wrong))


@pytest.mark.slow
def test_the_commands_of_the_page():
    from lauragpt.serve import cluster

    page = pages.ROOT / "docs" / "serve.md"
    lines = [line for line in pages.commands(page) if line.startswith(("ray ", "serve "))]
    assert lines[0] == "ray start --head" and lines[1].startswith(f"serve run {cluster.__name__}:{cluster.build.__name__} ")
    options = cluster.Options(**dict(word.split("=") for word in lines[1].split()[3:]))
    assert str(options.voices) == "/srv/voices" and options.max_replicas == 8
    assert all(name in page.read_text(encoding="utf-8") for name in cluster.Options.model_fields)
