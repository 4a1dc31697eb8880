"""The manifests, built as Kustomize would, checked against Kubernetes' schemas and the product's promises.

Kubernetes' schemas are those of PyPI's kubernetes-validate, in their strict form, which refuses unknown fields. It has
none for KEDA's two kinds. Their relevant fields are checked here.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate.utils import ValidationError, validate

from monitor.settings.load import load
from monitor.settings.tree import Role, Settings
from tests.deploy import kustomize
from tests.deploy.files import KUBERNETES, ROOT

VERSION = "1.37"
OVERLAYS = ("fleet", "volume")
WORKERS = {"detect": "StatefulSet", "record": "Deployment", "train": "Deployment"}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)
roles = pytest.mark.parametrize("role", WORKERS)


@cache
def objects(overlay: str) -> list[dict[str, Any]]:
    return kustomize.build(KUBERNETES / "overlays" / overlay)


def one(overlay: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in objects(overlay) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(overlay: str, role: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(overlay, WORKERS[role], role)["spec"]["template"]["spec"]
    return spec


def container(overlay: str, role: str) -> dict[str, Any]:
    (found,) = pod(overlay, role)["containers"]
    return dict(found)


def secret_files(overlay: str, role: str, folder: Path) -> dict[str, str]:
    """Return the pod's variables, with every path of a secret inside `folder`, where the secret files are created."""
    variables = {"POD_NAME": f"{role}-0"}
    for each in container(overlay, role)["env"]:
        variables[each["name"]] = each.get("value", variables.get(each["name"], ""))
    found = {}
    for name, value in variables.items():
        text = value.replace("$(POD_NAME)", variables["POD_NAME"])
        if text.startswith("/run/secrets/"):
            path = folder / text.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("hunter2\n")
            text = str(path)
        found[name] = text
    return {name: value for name, value in found.items() if name.startswith("MONITOR_")}


@overlays
def test_the_manifests_are_valid(overlay: str) -> None:
    """Every object except KEDA's passes the strict schemas of the supported version."""
    known = [each for each in objects(overlay) if not each["apiVersion"].startswith("keda.sh/")]
    assert len(known) >= 12
    for each in known:
        validate(each, VERSION, strict=True)


def test_a_misspelt_field_is_found() -> None:
    """The strict schema refuses a field that Kubernetes would ignore silently."""
    wrong = {**one("fleet", "PodDisruptionBudget", "detect"), "spec": {"maxUnavailabel": 1}}
    with pytest.raises(ValidationError):
        validate(wrong, VERSION, strict=True)


def test_the_reader_merges_as_kustomize_does() -> None:
    """Maps merge, lists of known kinds merge by their key, other lists are replaced, and null removes."""
    below = {"a": {"x": 1, "y": 2}, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": [1, 2]}
    above = {"a": {"y": None}, "env": [{"name": "B", "value": "3"}, {"name": "C"}], "args": [3]}
    merged = kustomize.merged(below, above)
    assert merged["a"] == {"x": 1}
    assert merged["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C"}]
    assert merged["args"] == [3]


@pytest.mark.parametrize("text", ["components: [x]", "patches: [{path: p.yaml, target: {kind: Job}}]"])
def test_the_reader_passes_over_nothing(tmp_path: Path, text: str) -> None:
    """An unsupported directive or a patch without an object is an error."""
    (tmp_path / "kustomization.yaml").write_text(text)
    (tmp_path / "p.yaml").write_text("{kind: Job, metadata: {name: x}, spec: {}}")
    with pytest.raises(ValueError, match=r"not understood|no object"):
        kustomize.build(tmp_path)


@overlays
def test_every_file_is_used(overlay: str) -> None:
    """Each file of base and overlay is named by the kustomization in its folder."""
    for folder in (KUBERNETES / "base", KUBERNETES / "overlays" / overlay):
        named = (folder / "kustomization.yaml").read_text()
        others = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
        assert [name for name in others if not re.search(rf"\b{re.escape(name)}\b", named)] == []


@overlays
@roles
def test_pods_are_restricted(overlay: str, role: str) -> None:
    """Each pod meets the restricted standard of its namespace, and its root file system is read-only."""
    labels = one(overlay, "Namespace", "monitor")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec, inner = pod(overlay, role), container(overlay, role)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    kinds = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    assert all(volume.keys() - {"name"} <= kinds for volume in spec["volumes"])


@overlays
@roles
def test_probes_ask_for_the_heartbeat_only(overlay: str, role: str) -> None:
    """Probes use /livez, not /readyz, which depends on the broker, and liveness allows at least the stall limit."""
    found = container(overlay, role)
    stalled_s = fleet(overlay, role).health.stalled_s
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert found[name]["httpGet"] == {"path": "/livez", "port": "health"}
    assert found["livenessProbe"]["periodSeconds"] * found["livenessProbe"]["failureThreshold"] >= stalled_s
    assert found["ports"] == [{"name": "health", "containerPort": fleet(overlay, role).health.port}]


def fleet(overlay: str, role: str, folder: Path | None = None) -> Settings:
    """Return a pod's settings. Without a folder, return those of the file with a test password."""
    env = secret_files(overlay, role, folder) if folder else {"MONITOR_KAFKA__SASL_PASSWORD": "hunter2"}
    return load(KUBERNETES / "base" / "monitor.toml", env, {})


@overlays
@roles
def test_each_pod_starts_with_settings_that_are_right(overlay: str, role: str, tmp_path: Path) -> None:
    """File and variables together pass the daemon's own check, for an existing role, with every secret in a file."""
    settings = fleet(overlay, role, tmp_path)
    args = container(overlay, role)["args"]
    assert args == ["run", "--config", "/etc/monitor/monitor.toml", "--role", Role(role).value]
    assert settings.kafka.sasl_password.get_secret_value() == "hunter2"
    assert settings.recorder.enabled == (role == "record")
    assert settings.training.enabled
    assert pod(overlay, role)["enableServiceLinks"] is False
    patience = settings.delivery.revoke_timeout_s + 15
    assert pod(overlay, role)["terminationGracePeriodSeconds"] > patience
    assert not [name for name in secret_files(overlay, role, tmp_path) if re.search(r"(PASSWORD|TOKEN)$", name)]


@overlays
def test_a_workers_name_is_its_place_in_the_group(overlay: str, tmp_path: Path) -> None:
    """The pod's name is group.instance.id in addition to the file's options, and the recorder's pods have none."""
    options = dict(fleet(overlay, "detect", tmp_path).kafka.options)
    assert options.pop("group.instance.id") == "detect-0"
    assert options == fleet(overlay, "detect").kafka.options == fleet(overlay, "record", tmp_path).kafka.options


@overlays
def test_there_is_one_trainer(overlay: str) -> None:
    """The trainer has one replica, and a rollout stops the old one first."""
    spec = one(overlay, "Deployment", "train")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@overlays
@roles
def test_what_is_mounted_is_there(overlay: str, role: str) -> None:
    """Every mount has its volume, every path in a variable has a mount, and every selector has its pods."""
    spec, found = pod(overlay, role), container(overlay, role)
    assert {each["name"] for each in found["volumeMounts"]} == {each["name"] for each in spec["volumes"]}
    paths = [each["mountPath"] for each in found["volumeMounts"]]
    values = [each["value"] for each in found["env"] if each.get("value", "").startswith("/")]
    assert all(any(value.startswith(path) for path in paths) for value in values)
    template = one(overlay, WORKERS[role], role)["spec"]["template"]["metadata"]["labels"]
    assert one(overlay, WORKERS[role], role)["spec"]["selector"]["matchLabels"] == template
    assert found["image"].partition(":")[2], "an image without a version changes under the pods"


def test_one_store_for_all(tmp_path: Path) -> None:
    """Detecting and training pods share the store: one volume with several writers, or one object store."""
    for role in ("detect", "train"):
        assert fleet("volume", role, tmp_path).store.url == "/var/lib/monitor"
        (volume,) = [each for each in pod("volume", role)["volumes"] if "persistentVolumeClaim" in each]
        assert volume["persistentVolumeClaim"] == {"claimName": "monitor-store"}
        assert fleet("fleet", role, tmp_path).store.url.startswith("s3://")
        assert "AWS_SHARED_CREDENTIALS_FILE" in {each["name"] for each in container("fleet", role)["env"]}
    assert one("volume", "PersistentVolumeClaim", "monitor-store")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_configuration_is_the_one_that_is_documented() -> None:
    """The file of the config map is configs/fleet.toml, byte by byte."""
    assert (KUBERNETES / "base/monitor.toml").read_bytes() == (ROOT / "configs/fleet.toml").read_bytes()


def test_workers_are_scaled_by_the_lag_of_their_own_group() -> None:
    """KEDA watches the configured group, topic and brokers, and no other setting fixes the number of replicas."""
    settings, scaled = fleet("fleet", "detect"), one("fleet", "ScaledObject", "detect")["spec"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "detect"}
    (trigger,) = scaled["triggers"]
    metadata: Mapping[str, str] = trigger["metadata"]
    assert trigger["type"] == "kafka"
    assert (metadata["consumerGroup"], [metadata["topic"]]) == (settings.source.group, list(settings.source.topics))
    assert metadata["bootstrapServers"].replace(".kafka.monitor:", ".kafka:") == settings.kafka.bootstrap_servers
    assert metadata["sasl"] == settings.kafka.sasl_mechanism.lower().replace("-", "_").replace("sha_", "sha")
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA takes texts only"
    assert int(metadata["lagThreshold"]) > 0
    assert 0 < scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    login = one("fleet", "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]["secretTargetRef"]
    assert {each["parameter"] for each in login} == {"username", "password", "ca"}
    assert "replicas" not in one("fleet", "StatefulSet", "detect")["spec"]


def test_a_drain_takes_one_worker_at_a_time() -> None:
    """The disruption budget selects the detecting pods and allows one to be unavailable."""
    spec = one("fleet", "PodDisruptionBudget", "detect")["spec"]
    assert spec["maxUnavailable"] == 1
    labels = one("fleet", "StatefulSet", "detect")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels


@overlays
def test_the_network_is_closed_but_for_what_is_needed(overlay: str) -> None:
    """Traffic is denied by default, and each role reaches only the servers of its settings."""
    policies = [each["spec"] for each in objects(overlay) if each["kind"] == "NetworkPolicy"]
    (base,) = [each for each in policies if each["policyTypes"] == ["Ingress", "Egress"]]
    assert base["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "monitor"}}
    assert [port["port"] for each in base["ingress"] for port in each["ports"]] == ["health"]
    reached = {role: sorted(_ports(policies, role)) for role in WORKERS}
    store = [443] if overlay == "fleet" else []
    assert reached == {"detect": [53, 53, *store, 9093], "record": [53, 53, 8086, 9093], "train": [53, 53, *store]}


def _ports(policies: list[dict[str, Any]], role: str) -> list[int]:
    """Return the ports to which the pods of a role may connect."""
    chosen = []
    for policy in policies:
        selector = policy["podSelector"]
        component = selector["matchLabels"].get("app.kubernetes.io/component", role)
        allowed = [each["values"] for each in selector.get("matchExpressions", [])]
        if component == role and all(role in values for values in allowed):
            chosen += [port["port"] for rule in policy.get("egress", []) for port in rule["ports"]]
    return chosen
