"""Sections of the settings for the servers of others: Kafka and InfluxDB.

A secret is given as a text or, better, as the path of a file that holds it (`*_file`), which `configuration.load`
reads. What depends on two settings, or on files, is checked in configuration_checks.py.
"""

from typing import Any, Literal

from pydantic import SecretStr

from monitor.settings.base import Section, setting

_HOST = r"([^\s,:@/]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}"


class KafkaSection(Section):
    """How Kafka is reached, by the source, the outputs and the recorder alike."""

    bootstrap_servers: str = setting(
        "localhost:9092",
        "Brokers to begin with, separated by commas.",
        "no broker would be found",
        pattern=rf"^{_HOST}(,{_HOST})*$",
        form="host:port, or several separated by commas",
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = setting(
        "plaintext",
        "Whether the connection is encrypted (ssl) and a password is asked for (sasl).",
        "no broker would answer",
    )
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"] = setting(
        "", "How the user is proved; empty = none is asked for.", "every broker would refuse the login"
    )
    sasl_username: str = setting("", "User name.", "every broker would refuse the login")
    sasl_password: SecretStr = setting(SecretStr(""), "Password.", "every broker would refuse the login")
    sasl_password_file: str = setting(
        "", "File that holds the password; read at the start.", "", form="a path, or empty"
    )
    ssl_ca_location: str = setting(
        "", "File of the authorities that vouch for the brokers; empty = the system's.", "", form="a path, or empty"
    )
    ssl_certificate_location: str = setting("", "File of the client's certificate.", "", form="a path, or empty")
    ssl_key_location: str = setting("", "File of the client's key.", "", form="a path, or empty")
    ssl_key_password: SecretStr = setting(SecretStr(""), "Password of the client's key.", "the key could not be read")
    ssl_key_password_file: str = setting(
        "", "File that holds that password; read at the start.", "", form="a path, or empty"
    )
    options: dict[str, Any] = setting(
        {},
        "Further options of librdkafka by their own names, for the consumer and the producer. Those that would break "
        "what docs/delivery.md promises are refused.",
        "the client would not start",
        form="a table of librdkafka's options",
    )

    def client(self) -> dict[str, str | int | float | bool]:
        """The configuration of a librdkafka client, with its secrets; what is empty is left out."""
        given = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password.get_secret_value(),
            "ssl.ca.location": self.ssl_ca_location,
            "ssl.certificate.location": self.ssl_certificate_location,
            "ssl.key.location": self.ssl_key_location,
            "ssl.key.password": self.ssl_key_password.get_secret_value(),
        }
        return {**self.options, **{name: text for name, text in given.items() if text}}


class RecorderSection(Section):
    """Alerts and scores from their topics to InfluxDB, by a consumer group of its own."""

    enabled: bool = setting(False, "Whether this process records too, in a thread of its own.", "")
    url: str = setting(
        "http://localhost:8086",
        "Of the server, without a user or password.",
        "no server would be found",
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$",
        form="http(s)://host:port",
    )
    org: str = setting("monitor", "Organisation.", "the server would refuse every point", pattern="^.+$", form="a name")
    bucket: str = setting("monitor", "Bucket.", "the server would refuse every point", pattern="^.+$", form="a name")
    token: SecretStr = setting(
        SecretStr(""), "Token; empty = the server asks for none.", "every write would be refused"
    )
    token_file: str = setting(
        "", "File that holds the token; read at the start, and again when it is refused.", "", form="a path, or empty"
    )
    group: str = setting(
        "",
        "Consumer group of the recorder; empty = source.group with -recorder appended.",
        "no offset could be committed",
        pattern=r"^[A-Za-z0-9._-]{0,210}$",
        form="at most 210 of the characters A-Z a-z 0-9 . _ -",
    )
    batch_points: int = setting(
        5000,
        "Points per write, as the server's makers advise.",
        "no point would be written, or a write be refused as too large",
        unit="points",
        low=1,
        high=50_000,
    )
    timeout_s: float = setting(
        10.0,
        "How long a write may take.",
        "every write would fail, or a dead server not be noticed",
        unit="s",
        low=0.1,
        high=120,
    )
