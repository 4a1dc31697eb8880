"""Apache Kafka itself for the tests: KRaft, on 127.0.0.1, from the jars that KAFKA_HOME names (tests/parts.py).

    with apache_kafka(folder) as broker: ...              one node
    with apache_kafka(folder, nodes=3) as broker: ...     three; topics have three replicas, two of them in sync
    with secured_kafka(folder) as broker: ...             TLS, SCRAM-SHA-512, and rights that are denied unless granted

Every node is broker and controller in one process. A start takes 3 to 6 s, so tests that do not harm the broker share
the fixture `apache` (tests/conftest.py), and each takes topics and groups of its own. A node can be frozen, killed and
started again; data and log of each lie in the folder.
"""

import base64
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.brokers import Broker, free_port, listening
from tests.parts import java, kafka_jars

READY_S = 60.0  # three nodes take 12 s on two idle cores
SESSION_S = 1.0  # the shortest session that a group may ask for, so that tests need not wait for 6 s
USER, PASSWORD = "monitor", "secret-of-monitor"  # who may log in at a secured broker
STORE_PASSWORD = "changeit"

_JVM = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # half the start, a third of the memory
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


class ApacheKafka(Broker):
    """A cluster of one node or more; `processes` holds them by number, from 0 on."""

    def __init__(self, folder: Path, ports: Sequence[int], settings: Mapping[str, str]) -> None:
        super().__init__("apache", ",".join(f"127.0.0.1:{port}" for port in ports), {})
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._ports = ports
        self._command = [str(java() / "java"), *_JVM, _QUIET, "-cp", f"{kafka_jars()}/*"]
        controllers = [free_port() for _ in ports]
        for node in range(len(ports)):
            own = {**_settings(folder, node, ports, controllers), **settings}
            self._config(node).write_text("".join(f"{key}={value}\n" for key, value in own.items()))

    def format(self, more: Sequence[str] = ()) -> None:
        """Prepare the nodes' folders for their first start."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        asked = []
        for node in range(len(self._ports)):
            options = ["format", "-t", cluster, "-c", str(self._config(node)), *more]
            command = [*self._command, "kafka.tools.StorageTool", *options]
            asked.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        for process in asked:
            text, _ = process.communicate(timeout=READY_S)
            assert process.returncode == 0, text[-2000:]

    def start(self, *nodes: int) -> None:
        """Start these nodes, or all, and wait until they take part in the cluster."""
        for node in nodes or range(len(self._ports)):
            with (self.folder / f"node-{node}.log").open("ab") as log:
                self.processes[node] = subprocess.Popen(
                    [*self._command, "kafka.Kafka", str(self._config(node))],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        for node in nodes or range(len(self._ports)):
            listening(self.kind, self.processes[node], self._ports[node], READY_S)
        self._wait_for_the_cluster()

    def kill(self, *nodes: int) -> None:
        """End these nodes, or all, as a power cut would."""
        for node in nodes or list(self.processes):
            self.processes[node].kill()
            self.processes[node].wait(READY_S)

    def freeze(self, *nodes: int) -> None:
        """Stop these nodes, or all: they keep their connections and answer nothing."""
        for node in nodes or self.processes:
            os.kill(self.processes[node].pid, signal.SIGSTOP)

    def thaw(self, *nodes: int) -> None:
        for node in nodes or self.processes:
            os.kill(self.processes[node].pid, signal.SIGCONT)

    def _config(self, node: int) -> Path:
        return self.folder / f"node-{node}.properties"

    def _wait_for_the_cluster(self) -> None:
        """A broker listens before it is part of the cluster."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + READY_S
        known = 0
        while known < len(self.processes):
            assert time.monotonic() < deadline, f"{known} of {len(self.processes)} nodes after {READY_S} s"
            try:
                known = len(admin.list_topics(timeout=1.0).brokers)
            except KafkaException:
                time.sleep(0.1)


@contextmanager
def apache_kafka(
    folder: Path, nodes: int = 1, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[ApacheKafka]:
    """A cluster with its data in `folder`, which it has for itself; `settings` are those of server.properties."""
    broker = ApacheKafka(folder, [free_port() for _ in range(nodes)], settings)
    with _running(broker):
        yield broker


@contextmanager
def _running(broker: ApacheKafka, more: Sequence[str] = ()) -> Iterator[None]:
    with ExitStack() as end:
        end.callback(broker.stop)
        broker.format(more)
        broker.start()
        yield


def _settings(folder: Path, node: int, ports: Sequence[int], controllers: Sequence[int]) -> dict[str, str]:
    replicas, in_sync = str(min(3, len(ports))), str(min(2, len(ports)))
    return {
        "process.roles": "broker,controller",
        "node.id": str(node + 1),
        "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers, 1)),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{ports[node]},CONTROLLER://127.0.0.1:{controllers[node]}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports[node]}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / f"data-{node}"),
        "auto.create.topics.enable": "false",
        # Readings of years ago stay: the default of a week would delete them within a minute.
        "log.retention.ms": "-1",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        # The partitions of internal topics are made at their first use; 50 of each would take longer than the test.
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.num.partitions": "5",
        # Groups as quick as tests want them: nobody waits for more members, and sessions may be short.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": f"{SESSION_S * 1000:.0f}",
        "group.consumer.min.session.timeout.ms": f"{SESSION_S * 1000:.0f}",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "group.consumer.heartbeat.interval.ms": "300",
    }


class SecuredKafka:
    """Where the clients of a secured broker go, and by what they know it."""

    def __init__(self, broker: ApacheKafka, client_port: int, authority: Path, stranger: Path) -> None:
        self.broker = broker  # its bootstrap is a listener without TLS and login, whose clients may do everything
        self.bootstrap = f"127.0.0.1:{client_port}"
        self.authority = authority  # a certificate that vouches for the broker's
        self.stranger = stranger  # one that does not


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """One node with a listener as a plant's IT department sets it up; user, password and rights are to be granted.

    The rights of USER are granted through `broker.bootstrap` (AdminClient.create_acls).
    """
    authority, stranger = (_certificate(folder, name) for name in ("broker", "stranger"))
    port, client = free_port(), free_port()

    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    own = "listener.name.client."
    settings = {
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},CLIENT://127.0.0.1:{client}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",
        f"{own}sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{own}scram-sha-512.sasl.jaas.config": login,
        f"{own}ssl.keystore.type": "PKCS12",
        f"{own}ssl.keystore.location": str(folder / "broker.p12"),
        f"{own}ssl.keystore.password": STORE_PASSWORD,
        f"{own}ssl.key.password": STORE_PASSWORD,
    }

    broker = ApacheKafka(folder, [port], settings)
    config = broker._config(0)
    config.write_text(config.read_text().replace(",CONTROLLER://", f",CLIENT://127.0.0.1:{client},CONTROLLER://", 1))
    with _running(broker, ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]):
        yield SecuredKafka(broker, client, authority, stranger)


def _certificate(folder: Path, name: str) -> Path:
    """Make a key and a certificate for 127.0.0.1, in a keystore; return the certificate, which is its own authority."""
    store, certificate = folder / f"{name}.p12", folder / f"{name}.pem"
    key = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-alias", name]
    made = ["-genkeypair", "-keyalg", "RSA", "-dname", f"CN={name}", "-validity", "30", "-ext", "san=ip:127.0.0.1"]
    for words in ([*made, "-ext", "bc=ca:true"], ["-exportcert", "-rfc", "-file", str(certificate)]):
        subprocess.run([str(java() / "keytool"), *words, *key], check=True, capture_output=True, timeout=READY_S)
    return certificate
