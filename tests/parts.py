"""Real parts that a checkout cannot bring along, each named by a variable of the environment.

    KAFKA_HOME    a folder with the jars of Apache Kafka in it or in its libs/; an unpacked distribution, for instance
    INFLUXD       the program of InfluxDB 1.8 or later, with Flux built in
    TELEGRAF      the program of Telegraf 1.37 or later, with inputs opcua and mqtt_consumer and output kafka
    FIELD         a folder with recordings of gateways (tests/chain/test_recorded.py), and with programs that write
                  readings of machines (tests/onboard/test_field_machines.py)

Without the variable a test is skipped with the reason. A variable that names nothing usable is a mistake: the test
fails.
"""

import os
import shutil
from pathlib import Path

import pytest


def part(variable: str, what: str) -> Path:
    """Return the path that the variable holds; skip the test if there is none."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no {what}")
    path = Path(named).resolve()
    if not path.exists():
        pytest.fail(f"{variable} names {path}, which does not exist")
    return path


def kafka_jars() -> Path:
    """Return the folder with Apache Kafka's jars."""
    home = part("KAFKA_HOME", "installation of Apache Kafka")
    for folder in (home / "libs", home):
        if any(folder.glob("kafka-clients-*.jar")):
            return folder
    pytest.fail(f"KAFKA_HOME names {home}, which holds no kafka-clients-*.jar, nor does its folder libs")


def java() -> Path:
    """Return the folder with `java` and `keytool`, of JAVA_HOME or of the search path."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        pytest.fail("KAFKA_HOME is set, but there is no java (Debian: openjdk-17-jre-headless)")
    return Path(found).parent


def program(variable: str, what: str) -> Path:
    """Return the program that the variable names."""
    path = part(variable, what)
    if not os.access(path, os.X_OK):
        pytest.fail(f"{variable} names {path}, which cannot be started")
    return path
