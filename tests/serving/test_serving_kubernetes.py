"""The manifests for Kubernetes, against what `li serve` and the image have; no cluster is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from serving_cases import TEXT, answers, built, copied, started  # noqa: F401

from learned_index.cli import main
from learned_index.cli.serve import TOKEN_VARIABLE
from learned_index.serving.app import make_app
from learned_index.serving.config import Service, ServingConfig

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docker" / "kubernetes"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the source checkout")
OF_THE_CLIENT = {
    "Deployment": "V1Deployment",
    "Service": "V1Service",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
}


def manifests() -> dict[str, dict]:
    """Each object by its kind."""
    found = {}
    for name in kustomization()["resources"]:
        for each in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")):
            assert each["kind"] not in found
            found[each["kind"]] = each
    return found


def kustomization() -> dict:
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))


def pod() -> dict:
    return manifests()["Deployment"]["spec"]["template"]["spec"]


def container() -> dict:
    (only,) = pod()["containers"]
    return only


def options() -> dict[str, str]:
    words = container()["args"]
    assert len(words) % 2 == 0 and all(word.startswith("--") for word in words[::2])
    return dict(zip(words[::2], words[1::2], strict=True))


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_every_file_is_applied_and_the_objects_find_one_another() -> None:
    told = kustomization()
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(told["resources"]) == files
    found = manifests()
    assert set(found) == set(OF_THE_CLIENT)
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["Service"]["spec"]["selector"].items() <= labels.items()
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (volume,) = [each for each in pod()["volumes"] if "persistentVolumeClaim" in each]
    claim = found["PersistentVolumeClaim"]["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim
    assert {each["name"] for each in container()["volumeMounts"]} == {
        each["name"] for each in pod()["volumes"]
    }
    (image,) = told["images"]
    assert image["name"] == container()["image"] and image["newTag"] != "latest"


def test_ports_and_paths_are_those_of_the_server() -> None:
    (port,) = container()["ports"]
    assert options()["--port"] == str(port["containerPort"])
    assert f"EXPOSE {port['containerPort']}" in dockerfile()
    (served,) = manifests()["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    app = make_app(Service({}, ServingConfig(), watch=FOLDER))
    paths = set(app.openapi()["paths"])
    probes = {kind: container()[kind]["httpGet"] for kind in container() if kind.endswith("Probe")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    assert all(p["path"] in paths and p["port"] == port["name"] for p in probes.values())
    notes = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/path"] in paths
    assert notes["prometheus.io/port"] == str(port["containerPort"])


def test_the_command_is_one_that_li_takes() -> None:
    told = CliRunner().invoke(main, ["serve", "--help-all"]).output
    for option in options():
        assert re.search(rf"^\W*{option} ", told, re.MULTILINE), option
    assert "command" not in container()  # the image's entry point, which names the host
    assert [each["name"] for each in container()["env"]] == [TOKEN_VARIABLE]
    (secret,) = [each["valueFrom"]["secretKeyRef"] for each in container()["env"]]
    assert secret["optional"]
    # A pod sees its node's processors, not its share of them.
    assert options()["--threads"] == container()["resources"]["requests"]["cpu"]


def test_no_request_is_lost_in_an_update() -> None:
    spec = manifests()["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["replicas"] > manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    command, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    needed = int(seconds) + int(options()["--shutdown-s"])
    assert pod()["terminationGracePeriodSeconds"] >= needed + 10
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120  # it compiles first


def test_the_pod_is_nobody_and_writes_to_two_places() -> None:
    who, inner = pod()["securityContext"], container()["securityContext"]
    (user,) = re.findall(r"^USER (\d+)$", dockerfile(), re.MULTILINE)
    assert who["runAsNonRoot"] and who["runAsUser"] == int(user)
    assert who["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    mounts = {
        each["mountPath"]: each.get("readOnly", False) for each in container()["volumeMounts"]
    }
    (cache,) = re.findall(r"NUMBA_CACHE_DIR=(\S+)", dockerfile())
    assert mounts == {options()["--watch"]: True, cache: False, "/tmp": False}
    assert {"cpu", "memory"} <= set(container()["resources"]["requests"])
    assert "memory" in container()["resources"]["limits"]


def test_the_clients_own_models_take_them() -> None:
    """They know types, and which fields must be there; what they do not know is lost."""
    kubernetes = pytest.importorskip(
        "kubernetes", reason="needs Kubernetes' client: pip install kubernetes"
    )
    api = kubernetes.client.ApiClient()
    for kind, manifest in manifests().items():
        text = json.dumps(manifest)
        read = api.deserialize(text, OF_THE_CLIENT[kind], "application/json")
        assert api.sanitize_for_serialization(read) == manifest, kind


@pytest.mark.server
def test_the_command_serves_what_the_volume_holds(built, tmp_path: Path) -> None:  # noqa: F811
    """With the manifest's options, but for port and place; SIGTERM ends it well within its time."""
    volume = tmp_path / "models"
    volume.mkdir()
    copied(built[1], volume, "my-model")
    given = {name.removeprefix("--"): value for name, value in options().items()}
    given |= {"watch": str(volume), "port": 0}
    with started(config=given, token=None) as server:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert server.client.get(container()[kind]["httpGet"]["path"]).status_code == 200
        assert answers(server.client, [TEXT])["model"] == "my-model"
        assert server.end() == 0
