"""Shards: written by `laura prepare --shards`, read by lhotse, by training and by an S3 server's clients."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lauragpt.audio import save_audio
from lauragpt.cli.app import app
from lauragpt.data.loader import decode
from lauragpt.data.manifest import Example, read_manifest, write_manifest
from lauragpt.data.shards import local_data, member_of, read_shards, stored_tokens
from lauragpt.data.spans import load_span, load_spans, span_name
from lauragpt.data.user_data import read_data as read_user_data
from lauragpt.errors import LauraError
from lauragpt.evaluate.groups import read_split
from lauragpt.model.lauragpt import load_checkpoint
from lauragpt.train import state
from lauragpt.train.batches import EncoderBatches
from lauragpt.train.config import load_recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import CodecTokens
from lauragpt.train.run import read_data, train
from lauragpt.train.shards import cuts_of, members, write_shards
from lauragpt.train.stages.encoder import EncoderStageConfig

DEBUG = Path(__file__).parents[2] / "recipes" / "debug.yaml"


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """The debug corpus, a noisy recording whose clean one has a transcript too, and a part of a longer one."""
    folder = tmp_path_factory.mktemp("manifests")
    assert CliRunner().invoke(app, ["prepare", "debug", str(folder)]).exit_code == 0
    train_examples = read_manifest(folder / "train.jsonl")
    speech = next(e for e in train_examples if e.task == "asr" and e.duration > 1)
    rng = np.random.default_rng(0)
    for name in ("clean", "noisy"):
        save_audio(folder / f"{name}.wav", rng.normal(size=16000).astype(np.float32) / 20)
    pair = Example("se/own/pair", "se", "train", "en", "debug", str(folder / "clean.wav"), 1.0, noisy=str(folder / "noisy.wav"))
    heard = replace(speech, id="asr/own/pair", corpus="debug", audio=pair.audio, duration=1.0, targets=["a"])
    part = replace(speech, id="asr/debug/part", audio=f"{speech.audio}#t=0.200,0.700", duration=0.5, targets=["a"])
    write_manifest(folder / "train.jsonl", [*train_examples, heard, pair, part])
    return folder


@pytest.fixture(scope="module")
def shards(manifests, debug_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "flac"
    how = ["prepare", str(manifests), "--shards", str(out), "--from", str(debug_checkpoint), "--shard-size", "7"]
    result = CliRunner().invoke(app, how)
    assert result.exit_code == 0, result.output
    assert "train: aac" in result.output and f"the shards are in {out}" in result.output
    return out


def by_id(examples):
    return {example.id: example for example in examples}


def test_shards_hold_the_examples_and_samples_of_the_manifests(manifests, shards):
    for before, after in zip(read_data(manifests), read_data(shards), strict=True):
        before, after = by_id(before), by_id(after)
        assert before.keys() == after.keys()
        for name, example in before.items():
            same = {key: value for key, value in vars(example).items() if key not in ("audio", "noisy", "duration")}
            assert same == {key: vars(after[name])[key] for key in same}
            assert after[name].duration == pytest.approx(example.duration, abs=0.05)
            for field in ("audio", "noisy"):
                assert bool(getattr(example, field)) == bool(getattr(after[name], field))
                if path := getattr(example, field):
                    assert member_of(getattr(after[name], field))
                    assert np.array_equal(decode(getattr(after[name], field)), decode(path)), name


def test_each_recording_is_stored_once(manifests, shards):
    examples = read_manifest(manifests / "train.jsonl")
    recordings = {e.audio for e in examples if e.audio}
    assert len(recordings) < len([e for e in examples if e.audio])
    stored = [name for path in (shards / "train").glob("recording.*.tar") for name in members(path) if name.endswith(".flac")]
    assert len(stored) == len(recordings)
    assert len([name for path in (shards / "train").glob("noisy.*.tar") for name in members(path) if name.endswith(".flac")]) == 1


def test_a_recording_with_two_noisy_ones_is_stored_with_each(manifests):
    pair = next(e for e in read_manifest(manifests / "train.jsonl") if e.noisy)
    other, plain = replace(pair, id="se/other", noisy="other.wav"), replace(pair, id="se/plain", noisy=None)
    cuts = cuts_of([plain, pair, other, replace(plain, id="se/again")])
    assert [(cut.id, cut.noisy, len(cut.examples)) for cut in cuts] == [("se/plain", pair.noisy, 3), ("se/other", "other.wav", 1)]


def test_lhotse_reads_the_folders_as_they_are(shards):
    from lhotse import CutSet

    ours = by_id(read_shards(shards))
    cuts = list(CutSet.from_shar(in_dir=shards / "train"))
    assert len(cuts) > 7 and len({path.name for path in (shards / "train").glob("cuts.*")}) > 1
    for cut in cuts:
        example = ours[cut.custom["examples"][0]["id"]]
        assert np.array_equal(cut.load_audio()[0], load_span(example.audio))
        assert cut.load_custom("codec_tokens").dtype == np.int16
    pair = next(cut for cut in cuts if cut.id == "asr/own/pair")
    assert [row["id"] for row in pair.custom["examples"]] == ["asr/own/pair", "se/own/pair"] and pair.supervisions[0].text == "a"
    assert pair.load_custom("noisy").shape == (1, 16000)


def test_stored_tokens_are_those_that_training_would_make(shards, debug_checkpoint):
    model = load_checkpoint(debug_checkpoint)
    corpus = Corpus(*read_data(shards), shards, None)
    paths = list(dict.fromkeys(e.audio for e in corpus.train if e.audio))
    tokens = CodecTokens(model, corpus.waves)
    assert tokens.missing(paths) == [] and not corpus.waves.cache  # no recording was opened
    plain = {path: path.partition(";tokens=")[0] for path in paths}
    anew = CodecTokens(model, corpus.waves)
    anew.prepare(list(plain.values()), save=False)
    assert all(tokens(path) == anew(plain[path]) for path in paths)
    assert stored_tokens(paths[0], "another codec") is None


def test_a_part_of_a_stored_recording_is_read(shards):
    name = next(e.audio for e in read_shards(shards) if e.duration > 0.5)
    found = dict(load_spans([name, span_name(name, 0.1, 0.3)]))
    assert np.array_equal(found[span_name(name, 0.1, 0.3)], found[name][1600:4800])


def test_opus_is_smaller_and_as_long(manifests, tmp_path):
    write_manifest(tmp_path / "few" / "train.jsonl", read_manifest(manifests / "train.jsonl")[:12])
    for audio in ("flac", "opus"):
        write_shards(tmp_path / "few", tmp_path / audio, audio)
    sizes = {audio: sum(path.stat().st_size for path in (tmp_path / audio).rglob("recording.*.tar")) for audio in ("flac", "opus")}
    assert sizes["opus"] < sizes["flac"]
    flac, opus = (by_id(read_shards(tmp_path / audio)) for audio in ("flac", "opus"))
    assert all(abs(len(decode(flac[name].audio)) - len(decode(opus[name].audio))) <= 1 for name in flac)


def test_a_run_on_shards_equals_one_on_manifests(manifests, shards, tmp_path):
    """The same examples in another order, so a stage that takes them all in their order of ids draws the same."""
    losses = {}
    for data in (manifests, shards):
        corpus = Corpus(*(sorted(examples, key=lambda e: e.id) for examples in read_data(data)), data, None)
        config = EncoderStageConfig(steps=2, batch_seconds=4, weights={"asr": 1})
        batches = EncoderBatches(corpus, corpus.train, config, 0, 0)
        losses[data] = batches(0).recordings.samples
    first, second = losses.values()
    assert len(first) and torch.equal(first, second)


def test_eval_and_doctor_read_shards(manifests, shards):
    assert by_id(read_split(manifests, "dev")).keys() == by_id(read_split(shards, "dev")).keys()
    assert {e.id for e in read_user_data(shards).examples} == {e.id for e in read_user_data(manifests).examples}


# --- what is wrong -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_missing_shard_is_said_before_training(copy, tmp_path):
    (copy / "train" / "recording.000001.tar").unlink()
    with pytest.raises(LauraError, match=r"the shard \S+recording.000001.tar is missing or cannot be read \(No such file"):
        train(DEBUG, overrides=[f"data={copy}", f"out={tmp_path / 'out'}"])
    assert not (tmp_path / "out" / "tokenizer.json").exists()


def test_a_short_shard_is_said_before_training(copy):
    path = copy / "train" / "recording.000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(LauraError, match=r"recording.000000.tar is damaged: it has \d+ bytes, not \d+"):
        read_data(copy)


def test_damaged_bytes_are_said_when_they_are_read(copy):
    path = copy / "train" / "recording.000000.tar"
    name = next(e.audio for e in read_data(copy)[0] if e.audio and "recording.000000" in e.audio)
    data = bytearray(path.read_bytes())
    data[member_of(name).offset + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(LauraError, match=r"recording.000000.tar is damaged: bytes \d+ to \d+ are not what was written"):
        decode(name)


@pytest.mark.parametrize("name", ["train/cuts.000000.jsonl.gz", "shards.json"])
def test_damaged_lists_are_said(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(LauraError, match=f"{name}.* is damaged"):
        read_data(copy)


def test_nothing_is_half_written(manifests, tmp_path):
    (tmp_path / "data").mkdir()
    examples = read_manifest(manifests / "train.jsonl")[:3]
    lost = replace(next(e for e in examples if e.audio), id="asr/lost", audio=str(tmp_path / "lost.wav"))
    write_manifest(tmp_path / "data" / "train.jsonl", [*examples, lost])
    with pytest.raises(LauraError, match=r"lost\.wav"):
        write_shards(tmp_path / "data", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "other").touch()
    with pytest.raises(LauraError, match="is not empty"):
        write_shards(tmp_path / "data", tmp_path / "out")
    with pytest.raises(LauraError, match=r"holds no train\.jsonl"):
        write_shards(tmp_path / "none", tmp_path / "other")


def test_an_id_of_two_manifests_is_refused(manifests, tmp_path):
    first, second = [e for e in read_manifest(manifests / "train.jsonl") if e.task == "asr"][:2]
    write_manifest(tmp_path / "data" / "train.jsonl", [first])
    write_manifest(tmp_path / "data" / "synth.own.jsonl", [replace(second, id=first.id)])
    with pytest.raises(LauraError, match=rf"synth\.own\.jsonl: the id '{first.id}' is used in \S+train\.jsonl too"):
        write_shards(tmp_path / "data", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_run_left_is_no_hindrance(manifests, tmp_path, monkeypatch):
    write_manifest(tmp_path / "data" / "train.jsonl", [e for e in read_manifest(manifests / "train.jsonl") if e.task == "asr"][:2])
    (tmp_path / "out" / ".part" / "train").mkdir(parents=True)
    moved, move = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (moved.append(Path(new)), move(old, new)))
    write_shards(tmp_path / "data", tmp_path / "out")
    assert moved[-1] == tmp_path / "out" / "shards.json", "without it, a folder whose files were not all moved holds no shards"
    assert len(read_shards(tmp_path / "out")) == 2 and not (tmp_path / "out" / ".part").exists()


@pytest.mark.parametrize("name", ["../../pwned.txt", "/pwned.txt", "train/../../pwned.txt", "..\\pwned.txt", "C:pwned.txt", ""])
def test_names_outside_the_folder_are_refused(copy, name):
    index = json.loads((copy / "shards.json").read_text())
    (copy / "shards.json").write_text(json.dumps(index | {"files": index["files"] | {name: {"bytes": 1, "sha256": "0"}}}))
    with pytest.raises(LauraError, match="names the file .* which is not within the folder of the shards"):
        read_data(copy)
    with pytest.raises(LauraError, match="names the file .* which is not within the folder of the shards"):
        local_data(f"file://{copy}")


def test_options_without_shards_are_refused(tmp_path):
    assert CliRunner().invoke(app, ["prepare", "debug", str(tmp_path), "--shard-size", "7"]).exit_code == 2
    assert CliRunner().invoke(app, ["prepare", "debug"]).exit_code == 2
    assert CliRunner().invoke(app, ["prepare", "debug", str(tmp_path), "--audio", "opus"]).exit_code == 2


# --- S3 ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket(shards, tmp_path_factory):
    """The shards on an S3 server, a process of its own; its address is in the environment, as a user would have it."""
    import boto3

    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    code = ("from moto.server import ThreadedMotoServer; import sys; s = ThreadedMotoServer(port=0); s.start(); "
            "print(f'port {s.get_host_and_port()[1]}', flush=True); sys.stdin.read()")  # until this process ends
    server = subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        port = next(line.split()[1] for line in server.stdout if line.startswith("port "))
        with pytest.MonkeyPatch.context() as patch:
            keys = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
                    "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
            for name, value in keys.items():
                patch.setenv(name, value)
            client = boto3.client("s3")
            client.create_bucket(Bucket="corpora")
            for path in shards.rglob("*"):
                if path.is_file():
                    client.upload_file(str(path), "corpora", f"debug/{path.relative_to(shards)}")
            yield client
    finally:
        server.kill()
        server.wait()


ADDRESS = "s3://corpora/debug"


def test_an_address_gives_the_same_examples_and_samples(bucket, shards):
    folder = local_data(ADDRESS)
    assert not list(folder.rglob("*.tar"))  # recordings stay where they are
    near, far = by_id(read_data(shards)[0]), by_id(read_data(folder)[0])
    assert near.keys() == far.keys()
    for name, example in list(near.items()):
        if example.audio:
            assert far[name].audio.startswith(f"{ADDRESS}/train/recording.")
    some = [name for name in near if near[name].audio][::5]
    assert all(np.array_equal(decode(near[name].audio), decode(far[name].audio)) for name in some)


@pytest.mark.slow
def test_training_by_address_equals_training_by_folder(bucket, shards, tmp_path):
    """With worker processes, which have connections of their own."""
    weights = {}
    for name, data in (("near", shards), ("far", ADDRESS)):
        train(DEBUG, "encoder", overrides=[f"data={data}", f"out={tmp_path / name}", "encoder.workers=2", "encoder.cache_gigabytes=0"])
        weights[name] = load_file(state.weights_of(tmp_path / name / "encoder", False))
    assert weights["near"].keys() == weights["far"].keys()
    assert all(weights["near"][key].equal(weights["far"][key]) for key in weights["near"])


def test_lists_are_fetched_again_where_they_changed(bucket, shards):
    folder = local_data(ADDRESS)
    cuts, text = folder / "train" / "cuts.000000.jsonl.gz", folder / "text.en.txt"
    before = cuts.stat().st_mtime_ns
    text.write_text("something else")
    assert local_data(ADDRESS) == folder and text.read_bytes() == (shards / "text.en.txt").read_bytes()
    assert cuts.stat().st_mtime_ns == before


def test_lists_that_are_no_longer_there_are_deleted(bucket, shards):
    folder = local_data(ADDRESS)
    old = [folder / name for name in ("text.old.txt", "synth.old.jsonl", "train/cuts.000099.jsonl.gz")]
    for path in old:
        path.touch()
    (folder / ".fetched-now.txt").touch()
    local_data(ADDRESS)
    assert not any(path.exists() for path in old) and (folder / ".fetched-now.txt").exists()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {".fetched-now.txt"} == {
        path.relative_to(shards).as_posix() for path in shards.rglob("*") if path.is_file() and path.suffix != ".tar"
    }


def test_a_shard_that_the_server_lacks_is_said_in_one_line(bucket):
    name = "debug/train/recording.000000.tar"
    whole = bucket.get_object(Bucket="corpora", Key=name)["Body"].read()
    bucket.delete_object(Bucket="corpora", Key=name)
    try:
        with pytest.raises(LauraError, match=r"the shard s3://corpora/debug/train/recording.000000.tar is missing") as error:
            read_data(local_data(ADDRESS))
        assert "\n" not in str(error.value)
    finally:
        bucket.put_object(Bucket="corpora", Key=name, Body=whole)


def test_an_address_without_shards_is_said(bucket, tmp_path):
    with pytest.raises(LauraError, match=r"s3://corpora/none holds no shards: shards\.json cannot be read there"):
        train(DEBUG, overrides=["data=s3://corpora/none", f"out={tmp_path}"])
    assert load_recipe(DEBUG, ["data=s3://corpora/none"]).data == "s3://corpora/none"
    assert not os.listdir(tmp_path) and json.loads((local_data(ADDRESS) / "shards.json").read_text())["source"] == ADDRESS
