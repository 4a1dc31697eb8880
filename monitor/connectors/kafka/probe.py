"""Try brokers, topics and groups as a client can without a trace: no record, no group joined, no topic created.

Rights are those that brokers tell with the description of a topic or group. Brokers before Kafka 2.3, and some others,
do not tell them; then only what is visible is reported.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from difflib import get_close_matches
from enum import Enum
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation  # admin brings it along, but does not export it

from monitor.connectors.base import Finding, is_pattern, subscribes
from monitor.connectors.kafka.client import QUIET, Config, Trouble
from monitor.connectors.kafka.option_names import NAMES

_ANSWER_S = 10.0  # for the list of topics: a refused login is reported by then
_RIGHTS_S = 5.0  # for the description of topics, and of a group
_NO_SUCH_OPTION = "No such configuration property"
_UNTOLD = (KafkaError._UNSUPPORTED_FEATURE, KafkaError._TIMED_OUT, KafkaError.GROUP_ID_NOT_FOUND)  # noqa: SLF001 - librdkafka's own codes begin so
_NOT_YET = (  # the broker that coordinates the group is being found
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_PAUSE_S = 0.3  # between two such questions


class Right(Enum):
    """What a client needs to do with a topic or group."""

    READ = AclOperation.READ
    WRITE = AclOperation.WRITE


def probe(
    config: Config, topics: Mapping[str, Collection[Right]], groups: Sequence[str], seconds: float
) -> list[Finding]:
    """Try the brokers, then each topic with the rights that it needs, then each group; all within `seconds`."""
    deadline = time.monotonic() + seconds
    item = f"brokers {config.get('bootstrap.servers', '')}"
    trouble = Trouble(lambda _: None)  # its last complaint is the reason
    options: dict[str, Any] = {**QUIET, **config, "error_cb": trouble.heard}
    try:
        admin = AdminClient(options)
    except KafkaException as fault:
        return [Finding(item, False, f"kafka configuration: {fault.args[0].str()}")]

    try:
        found = admin.list_topics(timeout=min(_ANSWER_S, seconds))
    except KafkaException as fault:
        admin.poll(0)  # only there the client gives the reason: the certificate, the password, the address
        return [Finding(item, False, str(trouble.judge(fault.args[0], "no answer")))]

    findings = [Finding(item, True, f"{_number(len(found.brokers), 'broker')}, {_number(len(found.topics), 'topic')}")]
    wanted, unmatched = _expanded(topics, found.topics)
    findings += [Finding(f"topics {each}", False, "no topic has such a name") for each in unmatched]
    described = _described_topics(admin, list(wanted), _left(deadline, 2 + len(groups)))
    for topic, needed in wanted.items():
        findings.append(_topic(topic, needed, found.topics, described[topic]))
    for place, group in enumerate(groups):
        findings.append(_group(admin, group, _left(deadline, len(groups) - place)))
    return findings


def refused_options(options: Config) -> list[str]:
    """Return a sentence for each option that librdkafka refuses. The client is given no broker and no login.

    An unknown name comes with a name that is close. If all names are known, the options are tried together.
    """
    problems = []
    for name, value in options.items():
        if _NO_SUCH_OPTION in _refusal({"group.id": "check", name: value}):
            close = get_close_matches(name, NAMES, 1, 0.6)
            problems.append(f"{name}: librdkafka has no such option" + (f"; did you mean {close[0]}?" if close else ""))
    if problems:
        return problems

    refused = _refusal({"group.id": "check", **options})
    return [f"librdkafka refuses them: {refused}"] if refused else []


def _refusal(config: Config) -> str:
    """Return why a client with this configuration cannot be made; empty if it can."""
    try:
        Consumer({**QUIET, **config}).close()
    except KafkaException as fault:
        return str(fault.args[0].str())
    return ""


def _expanded(
    topics: Mapping[str, Collection[Right]], listed: Mapping[str, Any]
) -> tuple[dict[str, set[Right]], list[str]]:
    """Return the rights needed to each topic, with patterns replaced by the topics that match, and other patterns."""
    wanted: dict[str, set[Right]] = {}
    unmatched = []
    for each, needed in topics.items():
        names = [name for name in sorted(listed) if subscribes([each], name)] if is_pattern(each) else [each]
        if not names:
            unmatched.append(each)
        for name in names:
            wanted.setdefault(name, set()).update(needed)
    return wanted, unmatched


def _topic(topic: str, needed: Collection[Right], listed: Mapping[str, Any], described: Any) -> Finding:
    item = f"topic {topic}"
    error = listed[topic].error if topic in listed else None
    if topic not in listed or error is not None:
        if _code(described) == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return Finding(item, False, f"this user has no right to see it: {described.name()}")
        if error is not None:
            return Finding(item, False, f"{error.name()}: {error.str()}")
        names = sorted(name for name in listed if not name.startswith("__"))
        close = get_close_matches(topic, names, 3, 0.6)
        there = f"; there is {', '.join(close)}" if close else ""
        return Finding(item, False, f"there is no such topic{there}; `monitor topics` creates it")

    size = _number(len(listed[topic].partitions), "partition")
    return _judged(item, size, needed, getattr(described, "authorized_operations", None))


def _group(admin: AdminClient, group: str, timeout: float) -> Finding:
    item = f"group {group}"
    described = _described_group(admin, group, timeout)
    if isinstance(described, KafkaError):
        if described.code() in _UNTOLD:
            return Finding(item, True, "it may be new; the broker does not tell rights")
        return Finding(item, False, f"{described.name()}: {described.str()}")

    members = _number(len(described.members), "member")
    return _judged(item, members, {Right.READ}, described.authorized_operations)


def _judged(item: str, about: str, needed: Collection[Right], told: Sequence[AclOperation] | None) -> Finding:
    """Judge the rights that the broker has told."""
    names = [right.name.lower() for right in Right if right in needed]
    if not told:
        return Finding(item, True, f"{about}; the broker does not tell rights")
    missing = [right.name.lower() for right in Right if right in needed and right.value not in told]
    if missing:
        return Finding(item, False, f"{about}; this user has no right to {' and '.join(missing)}")
    return Finding(item, True, f"{about}; this user may {' and '.join(names)}")


def _described_topics(admin: AdminClient, topics: Sequence[str], timeout: float) -> dict[str, Any]:
    """Return the description of each topic, or its KafkaError."""
    if not topics:
        return {}
    asked = admin.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=timeout
    )
    return {topic: _answer(asked[topic], timeout) for topic in topics}


def _described_group(admin: AdminClient, group: str, timeout: float) -> Any:
    """Return the description of a group, or its KafkaError. A cluster that never had a group needs a moment."""
    deadline = time.monotonic() + timeout
    while True:
        left = max(0.1, deadline - time.monotonic())
        asked = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=left)
        described = _answer(asked[group], left)
        if _code(described) not in _NOT_YET or time.monotonic() + _PAUSE_S >= deadline:
            return described
        time.sleep(_PAUSE_S)


def _answer(future: "Future[Any]", timeout: float) -> Any:
    """Return the result, or its KafkaError."""
    try:
        return future.result(timeout + 1.0)
    except KafkaException as fault:
        return fault.args[0]
    except TimeoutError:
        return KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - librdkafka's own codes begin so


def _code(described: Any) -> int | None:
    return described.code() if isinstance(described, KafkaError) else None


def _left(deadline: float, requests: int) -> float:
    """Return the seconds for the next one of so many requests."""
    return max(0.1, min(_RIGHTS_S, (deadline - time.monotonic()) / max(requests, 1)))


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
