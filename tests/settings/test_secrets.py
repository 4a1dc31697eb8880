"""Passwords and tokens: passed to the clients, never shown."""

import traceback
from pathlib import Path

import pytest

from monitor.settings.base import MASK
from monitor.settings.load import ConfigurationError, load, read_secret, render, variable
from tests.settings.mistakes import LOGIN, PLANTED, mistakes, write


@pytest.mark.parametrize("key", ["kafka.sasl_password", "kafka.ssl_key_password", "recorder.token"])
@pytest.mark.parametrize("way", ["file", "environment", "file of its own"])
def test_a_secret_is_known_but_never_shown(key: str, way: str, tmp_path: Path) -> None:
    """A secret reaches the settings from file, environment and secret file, and no text made from them shows it."""
    (tmp_path / "secret").write_text(f"{PLANTED}\r\n")
    (tmp_path / "key.pem").touch()
    around = {
        "kafka.security_protocol": "sasl_ssl",
        "kafka.sasl_mechanism": "GSSAPI",
        "kafka.ssl_key_location": str(tmp_path / "key.pem"),
        "kafka.ssl_certificate_location": str(tmp_path / "key.pem"),
    }
    path = write(tmp_path, f'{key} = "{PLANTED}"\n') if way == "file" else None
    env = {
        "file": {},
        "environment": {variable(key): PLANTED},
        "file of its own": {variable(f"{key}_file"): str(tmp_path / "secret")},
    }[way]
    settings = load(path, env, around)
    assert settings.value(key).get_secret_value() == PLANTED
    texts = (repr(settings), str(settings), render(settings), settings.model_dump_json(), str(settings.model_dump()))
    assert [text for text in texts if PLANTED in text] == []
    assert f'{key.partition(".")[2]} = "{MASK}"' in render(settings)


def test_an_error_carries_no_secret(tmp_path: Path) -> None:
    """Neither the error, nor its traceback, nor its cause shows a secret, even if form or name of it is wrong."""
    path = write(tmp_path, f'[kafka]\nsasl_password = ["{PLANTED}"]\nsasl_pass = "{PLANTED}"\n[recorder]\ntoken = 5\n')
    env = {"MONITOR_KAFKA__SSL_KEY_PASSWORD": PLANTED, "MONITOR_KAFKA__PASSWORD": PLANTED}
    with pytest.raises(ConfigurationError) as caught:
        load(path, env, {"recorder.url": f"http://monitor:{PLANTED}@db", "kafka.options": {"sasl.password": PLANTED}})
    error = caught.value
    assert len(error.problems) == 7
    shown = "".join(traceback.format_exception(error)) + repr(error) + "".join(error.problems)
    assert PLANTED not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_secret_file_must_hold_a_secret(content: bytes | None, said: str, tmp_path: Path) -> None:
    """A secret file that is missing, empty or no text is refused by its path, as the only problem."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    (problem,) = mistakes(None, {"MONITOR_KAFKA__SASL_PASSWORD_FILE": str(path)}, LOGIN)
    assert problem.startswith(f'kafka.sasl_password_file = "{path}": no secret read')
    assert said in problem


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    """A secret and its file together are refused without showing it."""
    (tmp_path / "token").write_text("other")
    (problem,) = mistakes(None, {variable("recorder.token"): PLANTED}, {"recorder.token_file": str(tmp_path / "token")})
    assert problem.startswith(f'recorder.token = "{MASK}", recorder.token_file = "{tmp_path}/token": both are given')
    assert PLANTED not in problem


def test_a_secret_keeps_its_blanks(tmp_path: Path) -> None:
    """Only the line end is cut off a secret."""
    (tmp_path / "token").write_bytes(b" a b \n")
    assert read_secret(str(tmp_path / "token")).get_secret_value() == " a b "
