"""docker/kubernetes as far as it can be checked without Kubernetes: its parts fit each other and the program.

Kubernetes' own kinds are checked by their schemas. KubeRay's are not in any package that can be installed: of these,
the pods are checked by the schema of pods, and the Serve configuration by Ray itself.
"""

import re
from typing import Any

import pytest
import yaml
from helpers.repository import ROOT

from service.cli import _parser
from service.cluster_deploy import configuration
from service.settings import Settings

FOLDER = ROOT / "docker/kubernetes"
SETS = (("cluster.yaml", "shared.yaml"), ("service.yaml", "shared.yaml"))  # files that are applied together
SECRET = {"name": "affectstream", "keys": {"cluster", "token"}}  # docs/cluster.md says how it is made
VERSION = "1.31"  # of Kubernetes, whose schemas the parts follow

Part = dict[str, Any]


def parts_of(*names: str) -> list[Part]:
    return [part for name in names for part in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))]


@pytest.fixture(params=SETS, ids=lambda names: str(names[0]))
def parts(request: pytest.FixtureRequest) -> list[Part]:
    return parts_of(*request.param)


def pods(parts: list[Part]) -> list[Part]:
    """The pod templates of all parts."""
    found = [part["spec"]["template"] for part in parts if part["kind"] == "Deployment"]
    for part in parts:
        cluster = part["spec"].get("rayClusterConfig", part["spec"]) if part["apiVersion"] == "ray.io/v1" else None
        if cluster is not None:
            found += [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    return found


def containers(parts: list[Part]) -> list[Part]:
    return [container for pod in pods(parts) for container in pod["spec"]["containers"]]


def variables(container: Part) -> Part:
    return {one["name"]: one for one in container.get("env", [])}


def test_each_part_has_a_kind_and_a_name_of_its_own(parts: list[Part]) -> None:
    assert all(part["apiVersion"] for part in parts)
    named = [(part["kind"], part["metadata"]["name"]) for part in parts]
    assert len(set(named)) == len(named)
    assert {"Deployment", "Service", "ConfigMap"} <= {kind for kind, _ in named}
    assert ("RayCluster" in dict(named)) != ("RayService" in dict(named))


def test_each_part_of_kubernetes_own_follows_its_schema(parts: list[Part]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs pip install kubernetes-validate")
    own = [part for part in parts if part["apiVersion"] != "ray.io/v1"]
    of_ray = [{"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": pod} for pod in pods(parts)]
    for part in [*own, *of_ray]:
        kubernetes_validate.validate(part, VERSION, strict=True)


def test_services_find_their_pods_and_ports(parts: list[Part]) -> None:
    for service in (part for part in parts if part["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [pod for pod in pods(parts) if selector <= pod.get("metadata", {}).get("labels", {}).items()]
        assert len(chosen) == 1
        ports = {port["name"] for one in chosen[0]["spec"]["containers"] for port in one["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_no_secret_stands_in_the_files_and_all_are_of_the_one_that_the_page_makes(parts: list[Part]) -> None:
    for container in containers(parts):
        for name, variable in variables(container).items():
            if "TOKEN" in name:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == SECRET["name"]
                assert reference["key"] in SECRET["keys"]
        assert not any("--token" in str(word) for word in container.get("args", []))
    page = (ROOT / "docs/cluster.md").read_text("utf-8")
    (made,) = re.findall(r"for key in ([\w ]+); do echo .* > secrets\.env", page)
    assert set(made.split()) == set(SECRET["keys"])
    assert f"create secret generic {SECRET['name']} --from-env-file=secrets.env" in page


def test_no_pod_of_the_program_gets_variables_after_the_names_of_services(parts: list[Part]) -> None:
    for pod in pods(parts):
        if any(one["image"] == "affectstream:cluster" for one in pod["spec"]["containers"]):
            assert pod["spec"]["enableServiceLinks"] is False  # AFFECTSTREAM_PORT would be tcp://10.0.0.1:80
            assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "affectstream"  # Redis lets these in


def test_whoever_speaks_to_ray_knows_its_token() -> None:
    speaking = [one for one in containers(parts_of("cluster.yaml")) if one["image"] == "affectstream:cluster"]
    assert len(speaking) == 3
    for container in speaking:
        assert variables(container)["RAY_AUTH_MODE"]["value"] == "token"
        assert "RAY_AUTH_TOKEN" in variables(container)
    assert parts_of("service.yaml")[0]["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_the_command_line_and_the_settings_are_the_program_s() -> None:
    parts = parts_of(*SETS[0])
    (serve,) = [one for one in containers(parts) if one["name"] == "serve"]
    command, *arguments = serve["args"]
    assert command == "affectstream"
    given = _parser().parse_args(arguments)
    names = {part["metadata"]["name"] for part in parts}
    assert given.redis == "redis://affectstream-redis:6379/0"
    assert "affectstream-redis" in names
    assert given.cluster.startswith("ray://affectstream-head-svc:")  # KubeRay's name for the head of `affectstream`
    settings = {name for name in variables(serve) if name.startswith("AFFECTSTREAM_")}
    assert settings <= {f"AFFECTSTREAM_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own schemas
def test_the_serve_configuration_is_what_the_program_writes_and_ray_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_TOKEN", "from the secret")
    options = {
        "host": "0.0.0.0",
        "redis": "redis://affectstream-redis:6379/0",
        "allowed_origins": "http://affectstream-serve-svc:8000",
    }
    found = yaml.safe_load(parts_of("service.yaml")[0]["spec"]["serveConfigV2"])
    assert found == configuration(options, 2)
    pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")
    from ray.serve.schema import ServeDeploySchema

    (application,) = ServeDeploySchema.model_validate(found).applications
    assert application.deployments[0].num_replicas == 2


@pytest.mark.parametrize("name", ["cluster.yaml", "service.yaml"])
def test_ray_is_the_locked_one(name: str) -> None:
    spec = parts_of(name)[0]["spec"]
    version = spec.get("rayClusterConfig", spec)["rayVersion"]
    assert f"\nray=={version} " in (ROOT / "requirements/cluster.txt").read_text("utf-8")
    assert "--requirement /src/requirements/cluster.txt" in (ROOT / "docker/Dockerfile.cluster").read_text("utf-8")
