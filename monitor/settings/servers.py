"""Sections for Kafka and InfluxDB.

A secret is given as a text or, better, as the path of a file (`*_file`), which load.py reads. Combinations, and files
that must exist, are checked in checks.py.
"""

from typing import Any, Literal

from pydantic import SecretStr

from monitor.settings.base import Section, setting

_HOST = r"([^\s,:@/]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}"
_PATH_FORM = "a path, or empty"


class KafkaSection(Section):
    """Connection to Kafka, used by source, outputs and recorder."""

    bootstrap_servers: str = setting(
        "localhost:9092",
        "First brokers to connect to, separated by commas.",
        pattern=rf"^{_HOST}(,{_HOST})*$",
        form="host:port, or several separated by commas",
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = setting(
        "plaintext",
        "Encryption (ssl) and login (sasl) of the connection.",
    )
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"] = setting(
        "", "Login method. Empty = no login."
    )
    sasl_username: str = setting("", "User name.")
    sasl_password: SecretStr = setting(SecretStr(""), "Password.")
    sasl_password_file: str = setting("", "File with the password, read at start.", form=_PATH_FORM)
    ssl_ca_location: str = setting(
        "", "File with the certificate authorities of the brokers. Empty = those of the system.", form=_PATH_FORM
    )
    ssl_certificate_location: str = setting("", "File with the client's certificate.", form=_PATH_FORM)
    ssl_key_location: str = setting("", "File with the client's key.", form=_PATH_FORM)
    ssl_key_password: SecretStr = setting(SecretStr(""), "Password of the client's key.")
    ssl_key_password_file: str = setting("", "File with that password, read at start.", form=_PATH_FORM)
    options: dict[str, Any] = setting(
        {},
        "Further options of librdkafka, by their own names, for consumer and producer. Options that would break a "
        "guarantee of docs/delivery.md are refused.",
        form="a table of librdkafka's options",
    )

    def client(self) -> dict[str, str | int | float | bool]:
        """Return the configuration of a librdkafka client, with its secrets and without empty settings."""
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


class SchemasSection(Section):
    """Avro, Protobuf, and JSON behind the number of a schema. Needs `pip install 'plant-monitor[schemas]'`.

    Each record becomes JSON with the names of its fields, which [format] then reads: times are texts (iso), enums
    texts, decimals numbers, bytes are skipped. Messages that are JSON already are read as they are.
    """

    registry_url: str = setting(
        "",
        "URL of the schema registry, without user and password. While it cannot be asked about a schema, partitions "
        "wait. Empty = no message names a schema.",
        pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$",
        form="http(s)://host:port, or empty",
    )
    username: str = setting("", "User name, or key of the API. Empty = the registry asks for none.")
    password: SecretStr = setting(SecretStr(""), "Password, or secret of the API.")
    password_file: str = setting("", "File with the password, read at start.", form=_PATH_FORM)
    ca_location: str = setting(
        "", "File with the certificate authorities of the registry. Empty = those of the system.", form=_PATH_FORM
    )
    timeout_s: float = setting(3.0, "Time limit of a request to the registry.", unit="s", low=0.1, high=30)
    files: tuple[str, ...] = setting(
        (),
        "Schemas of messages that do not name one: .avsc, .proto, or .desc as protoc --descriptor_set_out writes it. "
        "The last one has the record, others may have types of it.",
        form="a list of files, .avsc, .proto or .desc",
    )
    message: str = setting("", "Full name of the record or message in `files`. Empty = the only one of the last file.")


class RecorderSection(Section):
    """Copying alerts and scores from their topics to InfluxDB, with a consumer group of its own."""

    enabled: bool = setting(False, "Run the recorder in this process, in its own thread.")
    url: str = setting(
        "http://localhost:8086",
        "URL of the server, without user and password.",
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$",
        form="http(s)://host:port",
    )
    org: str = setting("monitor", "Organisation.", pattern="^.+$", form="a name")
    bucket: str = setting("monitor", "Bucket.", pattern="^.+$", form="a name")
    token: SecretStr = setting(SecretStr(""), "Token. Empty = the server asks for none.")
    token_file: str = setting(
        "", "File with the token, read at start and again when the server refuses it.", form=_PATH_FORM
    )
    group: str = setting(
        "",
        "Consumer group of the recorder. Empty = source.group with -recorder appended.",
        pattern=r"^[A-Za-z0-9._-]{0,210}$",
        form="at most 210 of the characters A-Z a-z 0-9 . _ -",
    )
    batch_points: int = setting(
        5000,
        "Points per write. InfluxDB's documentation advises 5000.",
        unit="points",
        low=1,
        high=50_000,
    )
    timeout_s: float = setting(10.0, "Time limit of a write.", unit="s", low=0.1, high=120)
