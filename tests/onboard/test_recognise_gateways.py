"""Every shape of tests/gateways.py is recognised and read with the right assets, channels and values."""

import json
import random
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from monitor.core.decode.decode import decode
from monitor.core.decode.mapped.presets import PRESETS
from monitor.core.records import Message, Partition
from monitor.onboard import cost
from monitor.onboard.format.known import presets_of
from monitor.onboard.format.recognise import DetectedFormat, Known, UnknownFormat, recognise
from monitor.service.run import Service
from monitor.settings.load import load
from monitor.settings.stages import FormatSection
from tests.commands import monitor
from tests.gateways import GATEWAYS, START, Gateway, iso, messages, rows
from tests.gateways_page import PAGE, page
from tests.rig import SMALL

NOW = START + 10**9
STEPS = 60
Reading = tuple[str, str, int, float]


def readings(form: DetectedFormat, run: list[Message]) -> list[Reading]:
    """Return what the decoder reads with a detected format, none of it rejected."""
    batch, rejected = decode(run, form.format, NOW)
    assert rejected == []
    return [
        (batch.assets[asset], batch.channels[channel], int(time), float(value))
        for asset, channel, time, value in zip(batch.asset, batch.channel, batch.time, batch.value, strict=True)
    ]


@pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda each: each.name)
def test_a_gateway_is_read_with_its_assets_channels_times_and_values(gateway: Gateway) -> None:
    """Assets are kept apart, and each reading has the value and the time that the machine had."""
    run = messages(gateway, STEPS)
    found = recognise([run], NOW)
    got = readings(found, run)
    assert {asset for asset, *_ in got} == gateway.assets
    assert {channel for _, channel, *_ in got} == gateway.channels
    assert found.preset == gateway.preset

    sent: dict[int, set[float]] = {row.at: set() for row in rows(STEPS)}
    for row in rows(STEPS):
        sent[row.at] |= set(row.values.values())
    assert all(value in sent[time - time % 1000] for _, _, time, value in got)
    assert len(got) == len({(asset, channel, time) for asset, channel, time, _ in got})
    assert len(got) > 0.97 * STEPS * 15


@pytest.mark.slow
@pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda each: each.name)
def test_the_order_of_fields_and_messages_does_not_matter(gateway: Gateway) -> None:
    """Members of objects in another order, and messages of a step in another order, give the same readings."""
    run = messages(gateway, STEPS)
    plain = recognise([run], NOW)
    for seed in range(3):
        order = random.Random(seed)
        mixed = [replaced(message, order) for message in run]
        for begin in range(0, len(mixed), 15):
            part = mixed[begin : begin + 15]
            order.shuffle(part)
            mixed[begin : begin + 15] = part
        mixed = [msg(each, number) for number, each in enumerate(mixed)]
        assert sorted(readings(recognise([mixed], NOW), mixed)) == sorted(readings(plain, run))


def replaced(message: Message, order: random.Random) -> Message:
    """Return a message whose objects have their members in another order."""
    try:
        body = json.loads(message.value or b"")
    except ValueError:
        return message
    return Message(
        message.partition,
        message.offset,
        message.key,
        json.dumps(_mixed(body, order)).encode(),
        message.timestamp,
        message.headers,
    )


def _mixed(body: Any, order: random.Random) -> Any:
    if isinstance(body, list):
        return [_mixed(each, order) for each in body]
    if not isinstance(body, dict):
        return body
    pairs = list(body.items())
    order.shuffle(pairs)
    return {name: _mixed(value, order) for name, value in pairs}


def msg(message: Message, number: int) -> Message:
    return Message(message.partition, number, message.key, message.value, message.timestamp, message.headers)


def topic(bodies: list[Any], keys: list[str] | None = None) -> list[Message]:
    pairs = enumerate(zip(bodies, keys or [""] * len(bodies), strict=True))
    return [
        Message(Partition("plant", 0), n, key.encode() if key else None, json.dumps(body).encode(), START)
        for n, (body, key) in pairs
    ]


def flat(machines: int = 3, **more: Any) -> list[dict[str, Any]]:
    """Return flat messages of machines whose names are in no field."""
    return [
        {"ts": START + 1000 * step, "flow": 10.0 * machine + step / 7, "temp": 40.0 + machine + step / 9, **more}
        for step in range(30)
        for machine in range(machines)
    ]


def test_machines_without_a_name_are_refused() -> None:
    """Messages of several machines that name none of them are not merged into one asset."""
    with pytest.raises(UnknownFormat, match="several machines send here without a name"):
        recognise([topic(flat())], NOW)


def test_one_machine_without_a_name_has_that_of_its_topic() -> None:
    """A single machine's messages without a name are one asset, named by the topic, and the reason says so."""
    found = recognise([topic(flat(1))], NOW)
    assert {asset for asset, *_ in readings(found, topic(flat(1)))} == {"plant"}
    assert "one asset only" in found.reasons["asset"]


def test_a_label_that_would_be_merged_is_refused_with_both() -> None:
    """Where machines of two lines have the same names, both labels and the setting that decides are named."""
    bodies = [
        {"line": line, "machine": machine, "ts": START + 1000 * step + 7 * place, "flow": 1.5 * place + step / 3}
        for step in range(30)
        for place, (line, machine) in enumerate([("L1", "P1"), ("L1", "P2"), ("L2", "P1"), ("L2", "P2")])
    ]
    with pytest.raises(UnknownFormat, match="'machine' names 2 assets") as refusal:
        recognise([topic(bodies)], NOW)
    assert "'line' changes" in str(refusal.value)
    assert "--set format.asset=machine" in str(refusal.value)
    chosen = recognise([topic(bodies)], NOW, Known(asset="line"))
    assert {asset for asset, *_ in readings(chosen, topic(bodies))} == {"L1", "L2"}


def test_the_finest_label_counts_though_a_part_lacks_it() -> None:
    """Messages of the gateway itself have no machine: they are left out, and the reason has their share."""
    bodies: list[Any] = []
    for step in range(40):
        at = START + 1000 * step
        bodies += [
            {"gateway": "g1", "machine": f"P{n}", "ts": at, "flow": n + step / 3, "temp": 40 + n} for n in (1, 2)
        ]
        bodies.append({"gateway": "g1", "ts": at, "cpu": step / 5, "mem": 60.0})
    found = recognise([topic(bodies)], NOW)
    assert {(asset, channel) for asset, channel, *_ in readings(found, topic(bodies))} == {
        (machine, channel) for machine in ("P1", "P2") for channel in ("flow", "temp")
    }
    assert found.format.select.assets.exclude == ("plant",)
    assert "33% of the readings" in found.reasons["select.assets_exclude"]


def test_messages_of_another_kind_are_left_out_and_counted() -> None:
    """Heartbeats without machine and time are no dead letters, and the reason has their number."""
    bodies: list[Any] = []
    for step in range(40):
        bodies += [{"machine": f"P{n}", "ts": START + 1000 * step, "flow": n + step / 3} for n in (1, 2)]
        bodies.append({"type": "heartbeat", "gateway": "g1", "uptime": step})
    found = recognise([topic(bodies)], NOW)
    assert {asset for asset, *_ in readings(found, topic(bodies))} == {"P1", "P2"}
    assert "40 of 120 messages" in found.reasons["select.assets_exclude"]


def test_two_shapes_in_a_topic_are_read_by_alternatives() -> None:
    """Messages of two senders, each with its own names of machine and time, are read together."""
    bodies = [
        {"machine": f"P{n % 4 // 2}", "ts": START + 1000 * n, "flow": n / 3}
        if n % 2
        else {"device": f"P{n % 4 // 2}", "time": START + 1000 * n, "flow": n / 3}
        for n in range(60)
    ]
    found = recognise([topic(bodies)], NOW)
    assert len(readings(found, topic(bodies))) == 60
    assert set(found.format.asset.split("|")) == {"machine", "device"}


def test_names_that_are_carried_on_are_refused() -> None:
    """Records that refer to an earlier one for their name and time are not read in part."""
    bodies = [
        [{"bn": f"P{n % 2}:", "bt": START / 1000 + n, "n": "flow", "v": 1.5}, *({"n": c, "v": n / 3} for c in "abc")]
        for n in range(40)
    ]
    with pytest.raises(UnknownFormat, match="not carried on"):
        recognise([topic(bodies)], NOW)


def test_a_zone_that_is_not_known_is_assumed_aloud() -> None:
    """Times without a zone are taken as UTC, which the reason calls an assumption, or as of the zone that was given."""
    bodies = [
        {"machine": f"P{n % 2}", "time": iso(START + 1000 * n, 0, "", " "), "flow": n / 3, "temp": 1.5}
        for n in range(40)
    ]
    found = recognise([topic(bodies)], NOW)
    assert (found.format.timezone, "only assumed" in found.reasons["timezone"]) == ("UTC", True)
    given_ = recognise([topic(bodies)], NOW, Known(zone="Europe/Berlin"))
    assert given_.format.timezone == "Europe/Berlin"
    assert readings(given_, topic(bodies))[0][2] == START - 7_200_000


def test_json_in_a_text_is_named() -> None:
    """A payload that is JSON written as a text is refused as such."""
    bodies = [{"topic": "a/b", "ts": START + n, "payload": json.dumps({"flow": n})} for n in range(30)]
    with pytest.raises(UnknownFormat, match="JSON written as a text"):
        recognise([topic(bodies)], NOW)


def test_every_preset_has_a_format() -> None:
    """The setting offers all presets, each of which gives a map that the decoder accepts with a machine's fields."""
    offered = set(get_args(FormatSection.model_fields["preset"].annotation)) - {""}
    assert offered == set(PRESETS)
    for name in PRESETS:
        format_ = load(None, {}, {"format.preset": name}).format
        assert format_.build().kind == "json"
        assert all(getattr(format_, key) == value for key, value in PRESETS[name].items())


def test_a_setting_wins_over_its_preset() -> None:
    """What is set beside a preset is kept, and the rest is the preset's."""
    format_ = load(None, {}, {"format.preset": "kepware", "format.quality": ""}).format
    assert (format_.quality, format_.each, format_.values) == ("", "values[]", "")


def test_no_preset_fits_other_messages() -> None:
    """Messages of an unknown gateway have the signs of no preset."""
    assert presets_of([{"machine": "a", "ts": START, "flow": 1.5}] * 10) == []


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.just(START),
    lambda each: st.lists(each) | st.dictionaries(st.text() | st.sampled_from(["value", "ts", "id"]), each),
    max_leaves=30,
)


@given(st.lists(ANY, min_size=1, max_size=20))
@example([{"value": 1_750_000_000_000}, {"": {"value": 1_750_000_000_000}}])  # a value beside an object of values
@examples(max_examples=100, deadline=None)
def test_no_json_breaks_the_recognition(bodies: list[Any]) -> None:
    """Any JSON is either recognised or refused with a reason."""
    try:
        recognise([topic([body if isinstance(body, dict | list) else {"x": body} for body in bodies])], NOW)
    except UnknownFormat as refusal:
        reason = str(refusal)
    else:
        reason = "recognised"
    assert reason


FILES = [each for each in GATEWAYS if not any(message.key or message.headers for message in messages(each, 1))]
QUICK = {key: value for key, value in SMALL.items() if key.partition(".")[0] in {"model", "training", "threshold"}}
QUICK |= {
    "windows.length": 16,
    "windows.max_gap": 8,
    "training.first_steps": 260,
    "training.steps": 60,
    "training.guard_s": 1.0,
}
QUICK |= {"health.enabled": False, "source.poll_s": 0.02, "source.batch_messages": 100, "delivery.checkpoint_s": 0.05}


@pytest.mark.slow
@pytest.mark.parametrize("gateway", FILES, ids=lambda each: each.name)
def test_onboard_writes_a_file_that_scores_without_an_edit(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`monitor run` with the file that `monitor onboard --file` wrote scores every machine of the gateway."""
    monkeypatch.setattr(cost, "RUN_S", 0.02)
    monkeypatch.chdir(tmp_path)
    run = [message.value or b"" for message in messages(gateway, 500)]
    Path(f"{gateway.name}.jsonl").write_bytes(b"\n".join(line.rstrip(b"\n") for line in run))
    onboarded = monitor("onboard", "--file", f"{gateway.name}.jsonl", "--out", "plant.toml")
    assert onboarded.exit_code == 0, onboarded.output

    settings = load(Path("plant.toml"), {}, {**QUICK, "store.url": str(tmp_path / "store")})
    assert settings.format.preset == gateway.preset
    Service(settings).run(threading.Event())
    lines = Path(settings.outputs.directory, "monitor.scores.jsonl").read_text().splitlines()
    assert {json.loads(line)["asset"] for line in lines} == gateway.assets
    assert not Path(settings.outputs.directory, "monitor.dead-letters.jsonl").exists()


@pytest.mark.slow
def test_the_page_of_gateways_shows_what_is_recognised() -> None:
    """docs/gateways.md has each shape with the setting that reads it; `python -m tests.gateways_page` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("share", [3, 12])
def test_messages_without_a_name_are_left_out_by_a_filter(share: int) -> None:
    """A gateway's signs of life are no dead letters, also where they are few; the reason says what they lack."""
    bodies: list[Any] = []
    for step in range(240):
        at = START + 1000 * step
        bodies.append({"machine": f"P{step % 2}", "ts": at, "flow": step / 3, "temp": 40.5 + step % 7})
        if step % share == 0:
            bodies.append({"gateway": "g1", "ts": at, "uptime": step})
    found = recognise([topic(bodies)], NOW)
    assert {asset for asset, *_ in readings(found, topic(bodies))} == {"P0", "P1"}
    assert found.format.select.assets.exclude == ("plant",)
    assert "lack 'machine'" in found.reasons["select.assets_exclude"]


def test_status_codes_as_numbers_are_a_quality() -> None:
    """OPC UA's numbers under the name StatusCode are recognised, and bad ones leave their values out."""
    bodies = [
        {
            "machine": f"P{step % 2}",
            "tag": "flow",
            "ts": START + 1000 * step,
            "value": step / 3,
            "StatusCode": 0x80310000 if step % 50 == 7 else 0,
        }
        for step in range(200)
    ]
    found = recognise([topic(bodies)], NOW)
    assert found.format.quality == "StatusCode"
    assert len(readings(found, topic(bodies))) == 196
