"""Secrets of running processes do not appear in logs, output, answers or child processes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer

from monitor.connectors.memory.client import MemoryBroker
from tests.brokers import free_port, mock_broker
from tests.core.machines import rows
from tests.influx_server import Answer, influx_server
from tests.rig import ORIGIN, feed, running, settings, until, values

SECRETS = {"SASL": "hunter2-of-sasl", "KEY": "hunter2-of-key", "TOKEN": "hunter2-of-token"}


def given_in(way: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the three secrets as TOML and environment. Create the matching TLS material."""
    keys = {"SASL": "kafka.sasl_password", "KEY": "kafka.ssl_key_password", "TOKEN": "recorder.token"}
    lines, env = [], {}
    for name, key in keys.items():
        if way == "file":
            lines.append(f'{key} = "{SECRETS[name]}"')
        elif way == "environment":
            env["MONITOR_" + key.upper().replace(".", "__")] = SECRETS[name]
        else:
            (folder / name).write_text(SECRETS[name] + "\n")
            lines.append(f'{key}_file = "{folder / name}"')
    return "\n".join(lines) + "\n", env


def leaked(text: str) -> list[str]:
    """Return the secrets that occur in a text."""
    return [secret for secret in SECRETS.values() if secret in text]


def write(folder: Path, **given: str) -> Path:
    path = folder / "monitor.toml"
    path.write_text(
        given.pop("more", "") + "".join(f"{key.replace('__', '.')} = {text}\n" for key, text in given.items())
    )
    return path


def command(name: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "monitor", name, "-c", str(config)]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    return {**{key: text for key, text in os.environ.items() if not key.startswith("MONITOR_")}, **given}


@contextmanager
def daemon(config: Path, env: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker as a process and stop it at the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command("run", config), stdout=file, stderr=file, env=environment(env), cwd=config.parent
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def answer_of(port: int, path: str) -> str:
    """Return the health server's answer, or an empty text while the server does not listen."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        with error:
            return error.read().decode()
    except (URLError, ConnectionError):
        return ""


def shown_by(process: "subprocess.Popen[bytes]", port: int) -> str:
    """Return everything visible from outside a running worker: its arguments and its answers."""
    arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
    return arguments + "".join(answer_of(port, path) for path in ("/metrics", "/readyz", "/livez", "/nosuch?token"))


@pytest.mark.parametrize("way", ["file", "environment", "file of its own"])
def test_a_check_tells_no_secret(way: str, tmp_path: Path) -> None:
    """Neither the settings printed by `monitor check` nor its errors show a secret."""
    (tmp_path / "key.pem").touch()
    lines, env = given_in(way, tmp_path)
    place = f'"{tmp_path / "key.pem"}"'
    rest: dict[str, str] = {
        "kafka__security_protocol": '"sasl_ssl"',
        "kafka__sasl_mechanism": '"PLAIN"',
        "kafka__sasl_username": '"me"',
        "kafka__ssl_key_location": place,
        "kafka__ssl_certificate_location": place,
    }
    for wrong in ({}, {"windows__length": "-1", "kafka__sasl_pasword": f'"{SECRETS["SASL"]}"'}):
        config = write(tmp_path, more=lines, **rest, **wrong)
        result = subprocess.run(
            command("check", config), capture_output=True, text=True, env=environment(env), check=False
        )
        assert result.returncode == (78 if wrong else 0), result.stderr
        assert len(result.stdout + result.stderr) > 50
        assert leaked(result.stdout + result.stderr) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "environment", "file of its own"])
def test_a_worker_without_its_broker_tells_no_secret(way: str, tmp_path: Path) -> None:
    """Log at level debug, /metrics, /readyz and arguments of a worker that cannot log in show no secret."""
    lines, env = given_in(way, tmp_path)
    port = free_port()
    lines = "\n".join(line for line in lines.splitlines() if "ssl_key" not in line) + "\n"
    env.pop("MONITOR_KAFKA__SSL_KEY_PASSWORD", None)
    config = write(
        tmp_path,
        more=lines,
        kafka__bootstrap_servers=f'"127.0.0.1:{free_port()}"',
        kafka__security_protocol='"sasl_plaintext"',
        kafka__sasl_mechanism='"PLAIN"',
        kafka__sasl_username='"me"',
        kafka__options='{ debug = "all" }',
        recorder__enabled="true",
        log__level='"debug"',
        health__port=str(port),
    )
    with daemon(config, env, tmp_path / "log") as process:
        until(lambda: "source: " in (text := answer_of(port, "/readyz")) and "refused" in text)
        shown = shown_by(process, port)
    assert "monitor_" in shown
    log = (tmp_path / "log").read_text()
    assert "onnect" in log
    assert leaked(shown + log) == []


@pytest.mark.slow
def test_a_key_that_does_not_open_tells_no_secret(tmp_path: Path) -> None:
    """A worker that cannot decrypt its key with the password exits with the reason and without the password."""
    (tmp_path / "key.pem").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    config = write(
        tmp_path,
        kafka__security_protocol='"ssl"',
        kafka__ssl_key_location=f'"{tmp_path / "key.pem"}"',
        kafka__ssl_certificate_location=f'"{tmp_path / "cert.pem"}"',
        log__level='"debug"',
        health__enabled="false",
    )
    env = environment({"MONITOR_KAFKA__SSL_KEY_PASSWORD": SECRETS["KEY"]})
    result = subprocess.run(
        command("run", config), capture_output=True, text=True, env=env, check=False, cwd=tmp_path, timeout=100
    )
    assert result.returncode != 0
    assert "ssl." in result.stderr
    assert leaked(result.stdout + result.stderr) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "environment", "file of its own"])
def test_a_database_that_repeats_the_token_does_not_make_us_tell_it(way: str, tmp_path: Path) -> None:
    """If the database's refusal quotes the token, the recorder logs the refusal without the token."""
    lines, env = given_in(way, tmp_path)
    lines = "\n".join(line for line in lines.splitlines() if "recorder" in line) + "\n"
    env = {name: text for name, text in env.items() if "RECORDER" in name}
    port = free_port()
    topics = {"readings": 1, "monitor.alerts": 1, "monitor.scores": 1, "monitor.dead-letters": 1}
    with influx_server() as server, mock_broker(topics) as broker:
        server.script = [Answer(401, json.dumps({"message": f"no such token: Token {SECRETS['TOKEN']}"}))] * 1000
        config = write(
            tmp_path,
            more=lines,
            kafka__bootstrap_servers=f'"{broker.bootstrap}"',
            recorder__enabled="true",
            recorder__url=f'"{server.url}"',
            log__level='"debug"',
            health__port=str(port),
        )
        score = {"asset": "a", "time": ORIGIN, "score": 1.0, "alarm": 1.0, "threshold": 2.0, "ratio": 0.5}
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce(
            "monitor.scores", json.dumps({**score, "anomalous": False, "warm": True, "model": "m", "channels": {}})
        )
        assert producer.flush(30) == 0
        with daemon(config, env, tmp_path / "log") as process:
            until(lambda: "recorder: " in (text := answer_of(port, "/readyz")) and "401" in text)
            shown = shown_by(process, port)
    log = (tmp_path / "log").read_text()
    assert "no such token: Token <token>" in log
    assert "no such token: Token <token>" in shown
    assert leaked(shown + log) == []


def test_the_training_child_is_told_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor the arguments of the training child contain a secret of the worker."""
    folders = tmp_path / "folders"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    broker = MemoryBroker()
    feed(broker, values(rows(200)))
    wanted = settings(
        tmp_path / "store",
        training__first_steps=160,
        training__steps=100_000,
        training__patience=10_000,
        recorder__token=SECRETS["TOKEN"],
    )
    assert wanted.recorder.token.get_secret_value() == SECRETS["TOKEN"]
    with running(wanted, broker):
        until(lambda: list(folders.glob("*/progress")))
        (folder,) = folders.iterdir()
        seen = b"".join(path.read_bytes() for path in folder.iterdir()).decode(errors="replace")
        arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert '"recipe"' in seen
    assert leaked(seen) == []
    assert [line for line in arguments if b"monitor.training.child" in line]
    assert leaked(b"".join(arguments).decode(errors="replace")) == []
