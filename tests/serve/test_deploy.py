"""deploy/ and the unit of docs/serve.md, without Docker: what they name exists, nobody is root, nothing is reached from elsewhere, and the
dashboard draws numbers that a server really gives."""

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import yaml
from servers import clip, http

DEPLOY = pages.ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")  # to the last digit


def steps(name: str) -> list[str]:
    """What stands behind each instruction of this name."""
    return [line.partition(" ")[2] for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


def check_options(words: list[str]) -> None:
    """They are options of `laura serve`."""
    assert words[:2] == ["laura", "serve"]
    shown = pages.shell("laura serve --help", pages.ROOT).stdout
    assert all(word in shown for word in words if word.startswith("--"))


def test_hadolint():
    done = subprocess.run([Path(sys.executable).parent / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image():
    assert len(steps("FROM")) == 2 and all(PINNED.fullmatch(line.partition(" AS ")[0]) for line in steps("FROM"))
    [user] = steps("USER")
    assert re.fullmatch(r"(\d+):\1", user) and user.split(":")[0] != "0"
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ") and f"--uid {user.split(':')[0]}" in DOCKERFILE
    check_options(json.loads(steps("ENTRYPOINT")[0]))
    assert steps("VOLUME") == ["/voices"]


def test_what_is_copied_exists_and_is_not_ignored():
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in steps("COPY") if not line.startswith("--from") for word in line.split()[:-1]}
    assert copied == kept and all((pages.ROOT / name).exists() for name in copied)
    assert '".[${EXTRAS}]"' in DOCKERFILE
    asked = re.findall(r"EXTRAS=(\S+)", DOCKERFILE)
    extras = {extra for each in asked for extra in each.split(",")}
    assert len(asked) == 3 and steps("ARG") == [f"EXTRAS={asked[-1]}"]
    project = (pages.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)


def test_the_health_check(address):
    """It succeeds where the server is ready, and where nothing listens it does not."""
    program, *words = json.loads(steps("HEALTHCHECK")[0].partition("CMD ")[2])
    assert program == "python"
    for there, code in ((address, 0), ("http://127.0.0.1:9", 1)):
        done = subprocess.run([sys.executable, *(word.replace("http://127.0.0.1:8000", there) for word in words)], capture_output=True)
        assert done.returncode == code


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service(name):
    service = COMPOSE["services"][name]
    assert PINNED.fullmatch(service["image"]) and service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"] and service["mem_limit"] and "user" not in service
    assert service["ports"] and all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service["secrets"]) <= COMPOSE["secrets"].keys()
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        if source.startswith("./"):
            assert (DEPLOY / source).is_file() and mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"] and target.startswith("/") and not mode


def test_the_server_asks_for_a_key_that_is_in_no_commit():
    service = COMPOSE["services"]["laura"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    check_options(["laura", "serve", *service["command"]])
    assert service["command"] == ["--api-key-file", "/run/secrets/keys"]
    [job] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/keys" and job["static_configs"] == [{"targets": ["laura:8000"]}]
    assert COMPOSE["secrets"]["keys"]["file"] == "./keys.txt" and "/deploy/keys.txt" in (pages.ROOT / ".gitignore").read_text()
    from lauragpt import __version__

    assert service["image"] == f"lauragpt:{__version__}"


def test_every_number_that_is_drawn_is_given_and_the_other_way_round(address):
    http.post(f"{address}/v1/audio/transcriptions", files={"file": clip("digits-4")})
    given = set(re.findall(r"^(laura_\w+)", http.get(f"{address}/metrics").text, re.MULTILINE))
    drawn = {name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in re.findall(r"laura_\w+", target["expr"])}
    assert drawn <= given, drawn - given
    stems = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in given}
    assert stems == {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in drawn}


def test_the_dashboard_is_where_grafana_looks():
    [source] = yaml.safe_load((DEPLOY / "grafana" / "source.yaml").read_text(encoding="utf-8"))["datasources"]
    [board] = yaml.safe_load((DEPLOY / "grafana" / "boards.yaml").read_text(encoding="utf-8"))["providers"]
    panels = DASHBOARD["panels"]
    assert all(panel["datasource"] == {"type": "prometheus", "uid": source["uid"]} and panel["description"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert f"./grafana/dashboard.json:{board['options']['path']}/dashboard.json:ro" in COMPOSE["services"]["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090"


def test_the_unit():
    [text] = [block for block in pages.blocks(pages.ROOT / "docs" / "serve.md", "text") if block.startswith("[Unit]")]
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.startswith("/") and Path(program).name == "laura"
    check_options(["laura", *words])
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict"
    assert "${CREDENTIALS_DIRECTORY}/keys" in words and service["LoadCredential"].startswith("keys:")
    assert words[words.index("--voices") + 1] == f"/var/lib/{service['StateDirectory']}"


def test_the_commands_of_the_page():
    """What they name exists; without Docker they cannot be run."""
    lines = [line for line in pages.commands(pages.ROOT / "docs" / "serve.md") if line.startswith(("docker ", "openssl "))]
    assert len(lines) == 2 and lines[0].endswith(f"> deploy/{COMPOSE['secrets']['keys']['file'][2:]}")
    assert (pages.ROOT / lines[1].split()[3]).samefile(DEPLOY / "compose.yaml")
