"""deploy/kuberay/, without a cluster: what a manifest holds is what KubeRay and Kubernetes know, and its commands are commands."""

import copy
import re

import jsonschema
import pages
import pytest
import typer
import yaml
from kubernetes.client import models
from pydantic import ValidationError

from lauragpt import __version__
from lauragpt.cli.app import app
from lauragpt.train.config import load_recipe

DOCKERFILE = (pages.ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
FOLDER = pages.ROOT / "deploy" / "kuberay"
MANIFESTS = {path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.yaml")}
RESOURCES = [(name, number) for name, documents in MANIFESTS.items() for number in range(len(documents))]
SCHEMA = jsonschema.Draft202012Validator(yaml.safe_load((pages.ROOT / "tests" / "serve" / "kuberay.yaml").read_text(encoding="utf-8")))
CORE = {"Job": "V1Job", "Service": "V1Service", "PersistentVolumeClaim": "V1PersistentVolumeClaim"}
IN_RAY = {"template": "V1PodTemplateSpec", "metadata": "V1ObjectMeta"}  # what KubeRay takes from Kubernetes
WRONG = (ValidationError, jsonschema.ValidationError)
ALL = [document for documents in MANIFESTS.values() for document in documents]


def check(resource: dict) -> None:
    """An error for a field that is not known, is missing or has another type."""
    if resource["apiVersion"] != "ray.io/v1":
        return check_core(CORE[resource["kind"]], resource)
    SCHEMA.validate(resource)
    for key, model in IN_RAY.items():
        for value in named(resource, key):
            check_core(model, value)


def check_core(model: str, value: dict) -> None:
    """As Kubernetes' own client reads it. By its names alone: Python's (`claim_name`) are unknown to a cluster."""
    getattr(models, model).model_validate(value, by_alias=True, by_name=False)


def named(value: object, key: str) -> list:
    """What `key` holds, wherever it stands, but not within itself."""
    if isinstance(value, list):
        return [found for each in value for found in named(each, key)]
    if not isinstance(value, dict):
        return []
    return [found for name, each in value.items() for found in ([each] if name == key else named(each, key))]


def fields(value: object, path: tuple = ()) -> list[tuple]:
    """Where all fields stand."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        own = [(*path, name) for name in value] if isinstance(value, dict) else []
        return own + [found for name, each in pairs for found in fields(each, (*path, name))]
    return []


FREE = ("limits", "requests", "selector", "rayStartParams")  # whose names are ours


def parsed(words: list[str]) -> typer.Context:
    """As `laura` reads its command line; what it would refuse is an error here."""
    assert words[0] == "laura"
    command = typer.main.get_command(app).commands[words[1]]
    return command.make_context(words[1], list(words[2:]))


@pytest.mark.parametrize(("name", "number"), RESOURCES)
def test_a_manifest_is_known_and_each_misspelt_field_is_not(name, number):
    resource = MANIFESTS[name][number]
    check(resource)
    paths = [path for path in fields(resource) if len(path) < 2 or path[-2] not in FREE]
    assert len(paths) > 5
    for path in paths:
        wrong = copy.deepcopy(resource)
        place = wrong
        for step in path[:-1]:
            place = place[step]
        place[f"{path[-1]}x"] = place.pop(path[-1])
        with pytest.raises((KeyError, *WRONG)):  # KeyError: of what tells which resource it is
            check(wrong)


@pytest.mark.parametrize(
    ("path", "value"), [(("replicas",), "4"), (("rayStartParams",), {"num-cpus": 0}), (("template", "spec", "containers"), {})]
)
def test_another_type_is_refused(path, value):
    wrong = copy.deepcopy(MANIFESTS["map"][0])
    place = wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(WRONG):
        check(wrong)


def test_the_images_are_those_of_the_dockerfile():
    made = {image: set(extras.split(",")) for extras, image in re.findall(r"--build-arg EXTRAS=(\S+) -t ([\w:.-]+\w)", DOCKERFILE)}
    used = {name: set(named(documents, "image")) for name, documents in MANIFESTS.items()}
    assert used == {"map": {f"lauragpt-cluster:{__version__}"}, "serve": {f"lauragpt-cluster:{__version__}"},
                    "train": {f"lauragpt-train:{__version__}"}, "volume": set()}  # fmt: skip
    assert made.keys() == set.union(*used.values())
    assert "cluster" in made[f"lauragpt-cluster:{__version__}"] and "train" in made[f"lauragpt-train:{__version__}"]
    [user] = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    pods = [each["spec"] for each in named(ALL, "template")]
    assert len(pods) == 5 and all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert {str(pod["securityContext"][name]) for pod in pods for name in ("runAsUser", "fsGroup")} == {user}
    constraints = (pages.ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert all(f"\nray=={version}\n" in constraints for version in named(ALL, "rayVersion"))


def test_what_is_mounted_is_there():
    claim = MANIFESTS["volume"][0]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in (each["spec"] for each in named(ALL, "template")):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        [container] = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_corpus_is_mapped_by_as_many_workers_as_there_are_processors():
    [job] = MANIFESTS["map"]
    asked = parsed(job["spec"]["entrypoint"].split()).params
    assert asked["verb"].value == "transcribe" and asked["ray"] == "auto"
    assert all(str(asked[name]).startswith("/data/") for name in ("data", "out"))
    [group] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    assert asked["workers"] * asked["threads"] == group["replicas"] * int(container["resources"]["limits"]["cpu"])
    with pytest.raises(typer.Exit, match="2"):
        parsed([*job["spec"]["entrypoint"].split(), "--wrkers", "2"])


def test_the_training_is_one_that_torchrun_and_laura_know():
    from torch.distributed.run import get_args_parser

    service, job = MANIFESTS["train"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["torchrun"]
    asked = get_args_parser().parse_args(container["args"])
    assert asked.no_python and int(asked.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert asked.nproc_per_node == container["resources"]["limits"]["nvidia.com/gpu"]
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]["subdomain"]
    [port] = service["spec"]["ports"]
    assert subdomain == service["metadata"]["name"] and asked.rdzv_endpoint == f"{name}-0.{subdomain}:{port['port']}"
    assert service["spec"] | {"ports": []} == {
        "clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"batch.kubernetes.io/job-name": name}, "ports": [],
    }  # fmt: skip
    words = [asked.training_script, *asked.training_script_args]
    train = parsed(words).params
    assert train["resume"]
    recipe = load_recipe(pages.ROOT / "recipes" / train["recipe"].name, train["overrides"])
    assert str(recipe.out).startswith("/data/") and str(recipe.data).startswith("/data/")
    assert all(recipe.stages[name].shard for name in ("gpt", "joint"))
    assert all(recipe.stages[name].checkpoint_activations for name in ("encoder", "gpt", "joint")), "they do not fit otherwise"
    restarting = {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"}
    assert asked.max_restarts and restarting in container["env"]
    page = (pages.ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    launches = re.findall(r"^(.*)torchrun .*--max-restarts", page, re.MULTILINE)
    assert len(launches) == 2 and all(f"{restarting['name']}=1" in launch for launch in launches)


def test_the_commands_of_the_pages():
    """Without Docker and Kubernetes they cannot be run: what they name exists, and the Dockerfile says the same."""
    lines = [line for page in pages.DOCS for line in pages.commands(page) if line.startswith(("kubectl ", "docker build "))]
    applied = [re.findall(r"-f (\S+)", line) for line in lines if line.startswith("kubectl apply ")]
    assert {path for paths in applied for path in paths} == {str(path.relative_to(pages.ROOT)) for path in FOLDER.glob("*.yaml")}
    built = [line for line in lines if line.startswith("docker ")]
    assert len(built) == 2 and all(line.split("Dockerfile ")[1].removesuffix(" .") in DOCKERFILE for line in built)
    [secret] = [line for line in lines if line.startswith("kubectl create secret generic ")]
    assert secret.split()[4] in {volume["secretName"] for volume in named(MANIFESTS["serve"], "secret")}
    assert secret.endswith(" --from-file keys=deploy/keys.txt") and len(lines) == len(applied) + len(built) + 1


@pytest.mark.slow
def test_ray_knows_what_it_is_told():
    """The configuration of Ray Serve, the options of `build`, and those of `ray start`."""
    from ray.scripts.scripts import start
    from ray.serve.schema import ServeDeploySchema

    from lauragpt.serve import cluster

    [service] = MANIFESTS["serve"]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    deployed = ServeDeploySchema.model_validate(config)
    [application] = deployed.applications
    assert application.import_path == f"{cluster.__name__}:{cluster.build.__name__}"
    assert application.args.keys() <= cluster.Options.model_fields.keys()
    options = cluster.Options(**application.args)
    assert options.host == deployed.http_options.host and options.max_replicas >= options.min_replicas
    [group] = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    room = int(container["resources"]["limits"]["cpu"]) // options.threads
    assert group["minReplicas"] * room >= options.min_replicas and group["maxReplicas"] * room == options.max_replicas
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": deployed.http_options.port}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(options.api_key_file) == f"{mounts['keys']}/keys" and str(options.voices).startswith(mounts["data"])
    known = {option.lstrip("-") for parameter in start.params for option in parameter.opts}
    assert all(params.keys() <= known for params in named(ALL, "rayStartParams"))
