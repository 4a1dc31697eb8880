"""Settings of Kafka and of the recorder that are refused."""

from pathlib import Path

from pydantic import SecretStr

from monitor.connectors.kafka.options import check_options
from monitor.settings.checks.problem import Problems
from monitor.settings.sections import Sections


def options_problems(settings: Sections) -> Problems:
    """Yield the problems of kafka.options."""
    for sentence in check_options(settings.kafka.options):
        yield sentence, "kafka.options"


def login_problems(settings: Sections) -> Problems:
    """Yield the problems of the login at Kafka."""
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return

    login = kafka.security_protocol.startswith("sasl_")
    if login and not kafka.sasl_mechanism:
        yield "every broker would refuse the login", "kafka.security_protocol", "kafka.sasl_mechanism"

    by_password = kafka.sasl_mechanism == "PLAIN" or kafka.sasl_mechanism.startswith("SCRAM")
    for name in ("sasl_username", "sasl_password"):
        if login and by_password and not _text(settings.value(f"kafka.{name}")):
            yield "every broker would refuse the login", "kafka.sasl_mechanism", f"kafka.{name}"

    for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
        if not login and _text(settings.value(f"kafka.{name}")):
            yield (
                "the client would not log in; only sasl_plaintext and sasl_ssl do",
                f"kafka.{name}",
                "kafka.security_protocol",
            )


def encryption_problems(settings: Sections) -> Problems:
    """Yield the problems of the encryption of Kafka."""
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return

    for name in ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location"):
        path = getattr(kafka, name)
        if path and not kafka.security_protocol.endswith("ssl"):
            yield (
                "nothing would be encrypted; only ssl and sasl_ssl encrypt",
                f"kafka.{name}",
                "kafka.security_protocol",
            )
        if path and not Path(path).is_file():
            yield "this is no file; no connection could be made", f"kafka.{name}"

    if bool(kafka.ssl_certificate_location) != bool(kafka.ssl_key_location):
        yield (
            "a certificate needs its key, and a key its certificate",
            "kafka.ssl_certificate_location",
            "kafka.ssl_key_location",
        )
    if kafka.ssl_key_password.get_secret_value() and not kafka.ssl_key_location:
        yield "there is no key for this password", "kafka.ssl_key_password", "kafka.ssl_key_location"


def recorder_problems(settings: Sections) -> Problems:
    """Yield the problems of [recorder]."""
    recorder = settings.recorder
    if recorder.group == settings.source.group:
        yield "recorder and detector would share one group's partitions", "recorder.group", "source.group"
    if recorder.enabled and settings.outputs.kind != "kafka":
        yield "the recorder reads from Kafka; nothing would be recorded", "recorder.enabled", "outputs.kind"


def _uses_kafka(settings: Sections) -> bool:
    return "kafka" in (settings.source.kind, settings.outputs.kind)


def _text(value: object) -> str:
    """Return the text of a setting, secret or not."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
