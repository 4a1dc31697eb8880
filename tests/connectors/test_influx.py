"""What becomes of points when InfluxDB refuses, fails or hangs."""

import json
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.connectors.base import Invalid, Unavailable
from monitor.connectors.influx import InfluxLimits, InfluxSink
from monitor.core.records import Record
from tests.influx_server import Answer, InfluxServer, influx_server

Sinks = Callable[..., InfluxSink]
_USUAL = InfluxLimits()


@pytest.fixture
def server() -> Iterator[InfluxServer]:
    with influx_server() as server:
        yield server


@pytest.fixture
def sinks(server: InfluxServer) -> Iterator[Sinks]:
    """Makes an open sink for the server, or for what the keywords say, and closes it after the test."""
    made: list[InfluxSink] = []

    def sink(
        url: str = "",
        token: Callable[[], str] = lambda: "right-token",
        limits: InfluxLimits = _USUAL,
        **options: object,
    ) -> InfluxSink:
        made.append(InfluxSink(url or server.url, token, "plant", "monitor", limits, **options))  # type: ignore[arg-type]
        made[-1].open()
        return made[-1]

    yield sink
    for each in made:
        each.close()


def _record(number: int, value: str = "1i") -> Record:
    return Record("m", b"k", f"m,key=k v={value} {number}".encode())


def _times(server: InfluxServer) -> list[int]:
    return [point.time for point in server.points.values()]


def test_one_refused_point_stops_no_other(server: InfluxServer, sinks: Sinks) -> None:
    """Of 1000 records the one that cannot be parsed is named with the server's words, for few requests."""
    sink = sinks()
    bad = _record(700, "1x")
    sink.write([bad if number == 700 else _record(number) for number in range(1000)])
    with pytest.raises(Invalid, match="1 records") as caught:
        sink.flush(10)
    ((record, reason),) = caught.value.rejected
    assert record == bad
    assert reason == "400 unable to parse 'm,key=k v=1x 700': invalid number"
    assert _times(server) == [number for number in range(1000) if number != 700]
    assert len(server.answers) <= 21  # both halves at each of the ten levels


def test_a_conflict_of_types_is_found(server: InfluxServer, sinks: Sinks) -> None:
    """A point whose field has another type is named, although the server has written the others of its request."""
    sink = sinks()
    sink.write([_record(0), _record(1), _record(2, "2.5"), _record(3)])
    with pytest.raises(Invalid, match=r"422 partial write: field type conflict: .*already of type int") as caught:
        sink.flush(10)
    assert [record for record, _ in caught.value.rejected] == [_record(2, "2.5")]
    assert _times(server) == [0, 1, 3]


@given(good=st.lists(st.booleans(), max_size=30), batch_bytes=st.integers(1, 400))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_the_refused_are_named(server: InfluxServer, sinks: Sinks, good: list[bool], batch_bytes: int) -> None:
    """For any pattern and batch size, bad records are rejected and the others written, both in their order."""
    server.points.clear()
    server.lines.clear()
    records = [_record(number, "1i" if fine else "bad") for number, fine in enumerate(good)]
    sink = sinks(limits=InfluxLimits(batch_bytes=batch_bytes))
    sink.write(records)
    rejected: list[tuple[Record, str]] = []
    try:
        sink.flush(10)
    except Invalid as invalid:
        rejected += invalid.rejected
    assert [record for record, _ in rejected] == [
        record for record, fine in zip(records, good, strict=True) if not fine
    ]
    assert _times(server) == [number for number, fine in enumerate(good) if fine]


def test_batches_shrink_to_what_the_server_takes(server: InfluxServer, sinks: Sinks) -> None:
    """After 413 the halves are sent, no later batch is too large again, and a notice says so."""
    notices: list[str] = []
    server.max_body = 1000
    sink = sinks(on_notice=notices.append)
    sink.write([_record(number) for number in range(200)])
    sink.flush(10)
    assert _times(server) == list(range(200))
    assert server.answers.count(413) == len(notices) > 0
    assert "at most" in notices[-1]
    server.answers.clear()
    sink.write([_record(number) for number in range(200, 400)])
    sink.flush(10)
    assert set(server.answers) == {204}
    assert _times(server) == list(range(400))


def test_a_record_that_is_too_large_alone_is_refused(server: InfluxServer, sinks: Sinks) -> None:
    """A record larger than the server takes is `Invalid`, and does not make the batches of others tiny."""
    server.max_body = 1000
    sink = sinks(limits=InfluxLimits(batch_bytes=1000))
    large = Record("m", b"k", b"\n".join(_record(number).value or b"" for number in range(100, 200)))
    sink.write([_record(0), large, _record(1)])
    with pytest.raises(Invalid, match="413") as caught:
        sink.flush(10)
    assert [record for record, _ in caught.value.rejected] == [large]
    server.answers.clear()
    sink.write([_record(number) for number in range(2, 10)])
    sink.flush(10)
    assert server.answers == [204]
    assert _times(server) == list(range(10))


@pytest.mark.parametrize(
    ("answer", "retry_after", "words"),
    [
        (Answer(429, '{"message":"too many"}', {"Retry-After": "7"}), 7.0, "429 too many"),
        (Answer(503, "busy", {"Retry-After": "120"}), 120.0, "503 busy"),
        (Answer(503, "busy", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), None, "503 busy"),
        (Answer(503, "", {"Retry-After": "-1"}), None, "503 Service Unavailable"),
        (Answer(500, '{"code":"internal error","message":"disk full"}'), None, "500 disk full"),
        (Answer(502, "<html>\n bad   gateway</html>"), None, "502 <html> bad gateway</html>"),
        (Answer(403, '{"message":"no write permission"}'), None, "403 no write permission .*bucket monitor"),
        (Answer(301, "", {"Location": "http://127.0.0.1:9/api/v2/write"}), None, "301 Moved"),
        (Answer(200, "<html>please log in</html>"), None, "200 .*expected 204"),
        (Answer(0), None, "[Cc]onnection"),
    ],
)
def test_everything_else_is_held(
    server: InfluxServer, sinks: Sinks, answer: Answer, retry_after: float | None, words: str
) -> None:
    """Any other answer, or a cut connection, is `Unavailable` with the server's words, asked once, nothing lost."""
    sink = sinks()
    sink.write([_record(0), _record(1)])
    server.script = [answer]
    with pytest.raises(Unavailable, match=words) as caught:
        sink.flush(10)
    assert caught.value.retry_after == retry_after
    assert server.answers == [answer.status]
    sink.flush(10)
    assert _times(server) == [0, 1]


def test_the_token_is_read_anew_at_each_flush(server: InfluxServer, sinks: Sinks, tmp_path: Path) -> None:
    """No file, then a wrong token, then the right one: the first two are `Unavailable`, and nothing is lost."""
    file = tmp_path / "token"
    sink = sinks(token=file.read_text)
    sink.write([_record(0)])
    with pytest.raises(Unavailable, match=r"token cannot be read: .*No such file"):
        sink.flush(10)
    file.write_text("wrong-token\n")
    with pytest.raises(Unavailable, match=r"401 unauthorized access .*check the token"):
        sink.flush(10)
    file.write_text("right-token\n")
    sink.flush(10)
    assert _times(server) == [0]


def test_an_unknown_bucket_is_held(server: InfluxServer, sinks: Sinks) -> None:
    """A bucket that does not exist yet is `Unavailable` with its name, since an operator may make it."""
    server.bucket = "other"
    sink = sinks()
    sink.write([_record(0)])
    with pytest.raises(Unavailable, match=r'404 bucket "monitor" not found .*organisation plant'):
        sink.flush(10)
    server.bucket = "monitor"
    sink.flush(10)
    assert _times(server) == [0]


@pytest.mark.parametrize("token", ["se\ncret", "se\x00cret", "secrét", "sécret"])
def test_a_token_that_no_header_takes_is_not_shown(sinks: Sinks, token: str) -> None:
    """A token with odd characters is `Unavailable`, and no part of the traceback shows it."""
    sink = sinks(token=lambda: token)
    sink.write([_record(0)])
    with pytest.raises(Unavailable, match="HTTP header") as caught:
        sink.flush(10)
    assert "cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [400, 401, 413, 500])
def test_a_token_that_the_server_repeats_is_not_shown(server: InfluxServer, sinks: Sinks, status: int) -> None:
    """If an answer quotes the request's header, in any form, neither exception nor traceback shows the token."""
    sink = sinks()
    quoting = Answer(status, json.dumps({"message": f"Token {server.token} is bad"}), {"Seen": server.token})
    server.script = [quoting] * 3
    sink.write([_record(0), _record(1)])
    with pytest.raises((Unavailable, Invalid)) as caught:
        sink.flush(10)
    assert "is bad" in str(caught.value)
    assert server.token not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)


def test_a_hanging_server_costs_no_more_than_the_timeout(server: InfluxServer, sinks: Sinks) -> None:
    """A server that answers nothing makes a flush `Unavailable` at the end of its time; later all is written."""
    sink = sinks()
    sink.write([_record(0)])
    server.going_on.clear()
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        sink.flush(0.3)
    assert 0.2 < time.monotonic() - begin < 3
    server.going_on.set()
    sink.flush(10)
    assert _times(server) == [0]


def test_a_request_has_a_timeout_of_its_own(server: InfluxServer, sinks: Sinks) -> None:
    """A single request does not use up the time of a long flush."""
    sink = sinks(limits=InfluxLimits(timeout=0.2))
    sink.write([_record(0)])
    server.going_on.clear()
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        sink.flush(60)
    assert time.monotonic() - begin < 10


def test_all_batches_share_the_time_of_a_flush(server: InfluxServer, sinks: Sinks) -> None:
    """What was acknowledged before the time was up is not sent again by the next flush."""
    sink = sinks(limits=InfluxLimits(batch_bytes=1))
    sink.write([_record(number) for number in range(2000)])
    with pytest.raises(Unavailable, match="time"):
        sink.flush(0.2)
    done = len(server.points)
    assert 0 < done < 2000
    server.answers.clear()
    sink.flush(60)
    assert _times(server) == list(range(2000))
    assert len(server.answers) in (2000 - done, 2001 - done)  # the last answer may have come too late


def test_a_refusal_is_told_even_after_an_outage(server: InfluxServer, sinks: Sinks) -> None:
    """A record refused before the flush failed is named by the flush that succeeds."""
    sink = sinks(limits=InfluxLimits(batch_bytes=1))
    sink.write([_record(0, "bad"), _record(1)])
    server.script = [None, Answer(503)]
    with pytest.raises(Unavailable):
        sink.flush(10)
    with pytest.raises(Invalid) as caught:
        sink.flush(10)
    assert [record for record, _ in caught.value.rejected] == [_record(0, "bad")]
    assert _times(server) == [1]
    sink.flush(10)


def test_the_bound_is_exact(sinks: Sinks) -> None:
    """With a bound of 10 the eleventh record waits for a flush."""
    sink = sinks(limits=InfluxLimits(records=10))
    sink.write([_record(number) for number in range(5)])
    with pytest.raises(Unavailable, match="5 records wait"):
        sink.write([_record(number) for number in range(5, 11)])
    sink.write([_record(number) for number in range(5, 10)])
    with pytest.raises(Unavailable, match="10 records wait"):
        sink.write([_record(10)])


def test_a_failing_tls_handshake_is_held(server: InfluxServer, sinks: Sinks) -> None:
    """An address with https whose server speaks plain HTTP is `Unavailable` with the reason."""
    sink = sinks(url=server.url.replace("http", "https"))
    sink.write([_record(0)])
    with pytest.raises(Unavailable, match="SSL"):
        sink.flush(10)


def test_every_answer_is_told(server: InfluxServer, sinks: Sinks) -> None:
    """`on_answer` receives the status of each request, also while a batch is halved, and 0 if no server answers."""
    answers: list[int] = []
    sink = sinks(on_answer=answers.append)
    sink.write([_record(0), _record(1, "1x")])
    with pytest.raises(Invalid):
        sink.flush(10)
    assert answers == [400, 204, 400]
    sink.write([_record(2)])
    server.down()
    with pytest.raises(Unavailable):
        sink.flush(10)
    assert answers[3:] == [0]
