"""Messages as gateways, brokers and historians send them: the shapes of their documents, with made-up pumps.

Each builder turns rows of a plant into messages. `GATEWAYS` has every builder with the assets and channels that are
right. Rows have a step of a second, three machines, and five channels unless a shape needs something else.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from monitor.core.records import Message, Partition
from monitor.simulator.plant import Plant, PlantSettings

START = 1_750_000_000_000  # ms UTC
MACHINES = ("P1", "P2", "P3")
CHANNELS = ("flow", "pressure", "current", "temp", "vib")
Body = Any


class Row(NamedTuple):
    """One step of one machine."""

    step: int
    machine: str
    at: int  # ms UTC
    values: dict[str, float]


class Sent(NamedTuple):
    """One message."""

    value: Body  # JSON, or a text as it is
    key: str | None = None
    topic: str = "readings"
    headers: tuple[tuple[str, str], ...] = ()


Builder = Callable[[Sequence[Row]], Iterable[Sent]]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A shape, and what is right for it."""

    name: str
    build: Builder
    assets: frozenset[str]
    channels: frozenset[str]
    preset: str = ""  # that must be recognised
    readings: int = 5  # of a machine's step


def rows(steps: int, machines: Sequence[str] = MACHINES) -> list[Row]:
    """Return rows of a plant without faults."""
    plant = Plant(PlantSettings(assets=len(machines), step_ms=1000, start=START))
    figures = plant.rows(0, steps).round(4)
    found = []
    for step in range(steps):
        for place, machine in enumerate(machines):
            values = dict(zip(CHANNELS, figures[place, step].tolist(), strict=False))
            found.append(Row(step, machine, plant.time(step), values))
    return found


def messages(gateway: Gateway, steps: int) -> list[Message]:
    """Return a gateway's messages as one run."""
    found = []
    for number, sent in enumerate(gateway.build(rows(steps))):
        value = sent.value if isinstance(sent.value, str) else json.dumps(sent.value)
        key = sent.key.encode() if sent.key is not None else None
        headers = tuple((name, text.encode()) for name, text in sent.headers)
        found.append(Message(Partition(sent.topic, 0), number, key, value.encode(), START + number, headers))
    return found


def iso(at: int, digits: int = 3, zone: str = "Z", parted: str = "T") -> str:
    """Return a time as text with `digits` of a second's fraction."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    fraction = f".{moment.microsecond:06d}0"[: digits + 1] if digits else ""
    return moment.strftime(f"%Y-%m-%d{parted}%H:%M:%S") + fraction + zone


def steps_of(given: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each step."""
    here: list[Row] = []
    for row in given:
        if here and here[0].step != row.step:
            yield here
            here = []
        here.append(row)
    if here:
        yield here


# Node-RED and other flat JSON.


def node_red(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"machine_id": row.machine, "ts": row.at / 1000, **row.values})


def node_red_nested(given: Sequence[Row]) -> Iterator[Sent]:
    """Parts of the machine are objects, the device is a number, and the topic is in the message."""
    for row in given:
        v = row.values
        body = {
            "device": int(row.machine[1:]),
            "time": row.at,
            "hydraulic": {"flow": v["flow"], "pressure": v["pressure"]},
        }
        yield Sent(
            {
                **body,
                "motor": {"current": v["current"], "temp": v["temp"], "vib": v["vib"]},
                "_msgid": f"{row.step:08x}",
            }
        )


def flat_topic(given: Sequence[Row]) -> Iterator[Sent]:
    """Write as a bridge from MQTT: the machine is a segment of the key alone."""
    for row in given:
        yield Sent({"timestamp": iso(row.at, 6, "+0000"), **row.values}, key=f"plant1/hall2/{row.machine}/telemetry")


def flat_header(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"t": row.at * 1000, **row.values}, headers=(("device-id", row.machine),))


def flat_states(given: Sequence[Row]) -> Iterator[Sent]:
    """Booleans, a mode as text, a message counter and a version among the channels."""
    for number, row in enumerate(given):
        body = {"machine": row.machine, "ts": row.at, "seq": number, "version": 3, **row.values}
        yield Sent({**body, "running": row.step % 50 > 3, "mode": "AUTO"})


def flat_texts(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        texts = {name: f"{value}" for name, value in row.values.items()}
        if row.step % 40 == 7:
            texts["temp"] = "Bad"
        yield Sent({"asset": row.machine, "timestamp": iso(row.at), **texts})


def flat_no_zone(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"machine": row.machine, "time": iso(row.at, 3, "", " "), **row.values})


def flat_ticks(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"Machine": row.machine, "Ticks": row.at * 10_000 + 621_355_968_000_000_000, **row.values})


def one_table(given: Sequence[Row]) -> Iterator[Sent]:
    """All machines' tags are members of one object, one message a step."""
    for step in steps_of(given):
        yield Sent({"ts": step[0].at, **{f"{r.machine}.{c}": x for r in step for c, x in r.values.items()}})


def by_machine(given: Sequence[Row]) -> Iterator[Sent]:
    """Each machine is a member of the message."""
    for step in steps_of(given):
        yield Sent({"ts": step[0].at, **{row.machine: row.values for row in step}})


# Kepware.


def kepware(given: Sequence[Row]) -> Iterator[Sent]:
    """The standard template: one message a publish cycle."""
    for row in given:
        items = [{"id": f"Channel1.{row.machine}.{c}", "v": x, "q": True, "t": row.at} for c, x in row.values.items()]
        yield Sent({"timestamp": row.at + 12, "values": items})


def kepware_array(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent(
            [{"tagname": f"Hall A.{row.machine}.{c}", "timestamp": row.at, "value": x} for c, x in row.values.items()]
        )


def kepware_single(given: Sequence[Row]) -> Iterator[Sent]:
    for sent in kepware_array(given):
        for item in sent.value:
            yield Sent(item)


def kepware_advanced(given: Sequence[Row]) -> Iterator[Sent]:
    """The advanced template with the words of its quality, times as texts, and one bad value in forty."""
    for row in given:
        items = []
        for channel, value in row.values.items():
            bad = row.step % 40 == 7 and channel == "temp"
            items.append(
                {
                    "TagName": f"Line 3.{row.machine}.{channel}",
                    "TagValue": 0 if bad else value,
                    "TagQuality": "Bad" if bad else "Good",
                    "TagTimestamp": iso(row.at),
                }
            )
        yield Sent({"ServerTime": iso(row.at + 40), "Tags": items})


# OPC UA.


def pubsub(given: Sequence[Row], *, full: bool = True) -> Iterator[Sent]:
    """A NetworkMessage of OPC UA PubSub, one DataSetMessage a machine."""
    for number, step in enumerate(steps_of(given)):
        sets = []
        for place, row in enumerate(step):
            payload: Body = dict(row.values)
            if full:
                good = {"SourceTimestamp": iso(row.at, 6)}
                payload = {name: {"Value": value, **good} for name, value in row.values.items()}
                if row.step % 40 == 7:
                    payload["temp"]["StatusCode"] = {"Code": 0x80050000, "Symbol": "BadCommunicationError"}
            sets.append(
                {
                    "DataSetWriterId": place + 1,
                    "DataSetWriterName": row.machine,
                    "SequenceNumber": number + 1,
                    "MetaDataVersion": {"MajorVersion": 1, "MinorVersion": 0},
                    "Timestamp": iso(row.at + 3),
                    "Payload": payload,
                }
            )
        head = {"MessageId": f"{number:032x}", "MessageType": "ua-data", "PublisherId": "edge-1"}
        yield Sent({**head, "DataSetWriterGroup": "plant", "Messages": sets})


def pubsub_plain(given: Sequence[Row]) -> Iterator[Sent]:
    return pubsub(given, full=False)


def pubsub_nodes(given: Sequence[Row]) -> Iterator[Sent]:
    """OPC Publisher in PubSub mode: one writer, all nodes of all machines in its payload."""
    for number, step in enumerate(steps_of(given)):
        payload = {
            f"{r.machine}.{c}": {
                "Value": x,
                "StatusCode": {"Symbol": "Good", "Code": 0},
                "SourceTimestamp": iso(r.at, 6),
            }
            for r in step
            for c, x in r.values.items()
        }
        inner = {"DataSetWriterId": 1, "MetaDataVersion": {"MajorVersion": 1}, "Timestamp": iso(step[0].at + 9)}
        head = {"MessageId": str(number), "MessageType": "ua-data", "PublisherId": "opc.tcp://plc:4840_84"}
        yield Sent({**head, "Messages": [{**inner, "Payload": payload}]})


def _node(row: Row, channel: str) -> Body:
    return {"NodeId": f"nsu=urn:plant:server;s=Line3.{row.machine}.{channel}", "ApplicationUri": "urn:plant:server"}


def publisher_nested(given: Sequence[Row]) -> Iterator[Sent]:
    """OPC Publisher's samples mode: the value with its time and its status in an object."""
    for row in given:
        for channel, value in row.values.items():
            inner: Body = {"Value": value, "SourceTimestamp": iso(row.at, 6), "ServerTimestamp": iso(row.at + 250, 6)}
            if row.step % 40 == 7 and channel == "temp":
                inner["StatusCode"] = {"Code": 0x80050000, "Symbol": "BadCommunicationError"}
            yield Sent({**_node(row, channel), "DisplayName": f"{row.machine}.{channel}", "Value": inner})


def publisher_flat(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        for channel, value in row.values.items():
            own = {"DisplayName": channel, "Value": value, "SourceTimestamp": iso(row.at, 6), "Status": "Good"}
            yield Sent({**_node(row, channel), **own})


def publisher_batched(given: Sequence[Row]) -> Iterator[Sent]:
    items = [sent.value for sent in publisher_nested(given)]
    for begin in range(0, len(items), 15):
        yield Sent(items[begin : begin + 15])


# MQTT.


def sparkplug(given: Sequence[Row]) -> Iterator[Sent]:
    """A payload of Sparkplug B as JSON, with the topic of MQTT as key; now and then a null, and a birth first."""
    for number, row in enumerate(given):
        metrics: list[Body] = []
        for alias, (name, value) in enumerate(row.values.items()):
            metric: Body = {"name": name, "alias": alias, "timestamp": row.at, "dataType": "Double", "value": value}
            if row.step % 40 == 7 and name == "temp":
                metric |= {"value": None, "isNull": True}
            metrics.append({**metric, "properties": {"Quality": {"type": "Int32", "value": 192}}})
        verb = "DBIRTH" if row.step == 0 else "DDATA"
        key = f"spBv1.0/Plant 1/{verb}/Edge1/{row.machine}"
        yield Sent({"timestamp": row.at + 5, "metrics": metrics, "seq": number % 256}, key=key)


def sparkplug_typed(given: Sequence[Row]) -> Iterator[Sent]:
    """Fields of the protocol buffer as they are: a value has its type in its name."""
    fields = ("floatValue", "doubleValue", "doubleValue", "floatValue", "doubleValue")
    for number, row in enumerate(given):
        metrics = [
            {"name": name, "timestamp": str(row.at), "datatype": 10, field: value}
            for field, (name, value) in zip(fields, row.values.items(), strict=True)
        ]
        body = {"timestamp": str(row.at), "metrics": metrics, "seq": str(number % 256)}
        yield Sent(body, key=f"spBv1.0/Plant/DDATA/Edge1/{row.machine}")


def sparkplug_injector(given: Sequence[Row]) -> Iterator[Sent]:
    """Topic and payload are in the message."""
    for number, row in enumerate(given):
        topic = {"namespace": "spBv1.0", "edgeNodeDescriptor": "G1/E1", "groupId": "G1", "edgeNodeId": "E1"}
        metrics = [{"name": n, "timestamp": row.at, "dataType": "Float", "value": x} for n, x in row.values.items()]
        payload = {"timestamp": row.at, "metrics": metrics, "seq": number % 256}
        yield Sent({"topic": {**topic, "deviceId": row.machine, "type": "DDATA"}, "payload": payload})


def umh(given: Sequence[Row]) -> Iterator[Sent]:
    """United Manufacturing Hub, several tags a message: the machine is in the key."""
    for row in given:
        yield Sent(
            {"timestamp_ms": row.at, **row.values}, key=f"umh.v1.acme.cologne.packaging.{row.machine}._historian"
        )


def umh_tags(given: Sequence[Row]) -> Iterator[Sent]:
    """United Manufacturing Hub, one tag a message: machine and tag are in the key."""
    for row in given:
        for channel, value in row.values.items():
            key = f"umh.v1.acme.cologne.packaging.{row.machine}._historian.{channel}"
            yield Sent({"timestamp_ms": row.at, "value": value}, key=key, topic="umh.messages")


def mqtt_wrapped(given: Sequence[Row]) -> Iterator[Sent]:
    """The rule of a broker: topic and payload are fields."""
    for row in given:
        for channel, value in row.values.items():
            body = {"clientid": "plc-7", "qos": 0, "topic": f"hall/{row.machine}/{channel}", "payload": f"{value}"}
            yield Sent({**body, "timestamp": row.at, "node": "emqx@127.0.0.1"})


# Platforms.


def edgex(given: Sequence[Row], *, wrapped: bool = False) -> Iterator[Sent]:
    """An event of EdgeX: values are texts in exponents, times are nanoseconds."""
    for number, row in enumerate(given):
        at = row.at * 1_000_000
        common = {"deviceName": row.machine, "profileName": "pump", "origin": at, "valueType": "Float64"}
        readings = [
            {"id": f"{number:08x}-{place}", **common, "resourceName": name, "value": f"{value:e}"}
            for place, (name, value) in enumerate(row.values.items())
        ]
        event: Body = {"apiVersion": "v3", "id": f"{number:036x}", "deviceName": row.machine, "profileName": "pump"}
        event |= {"sourceName": "all", "origin": at + 1000, "readings": readings}
        yield Sent({"apiVersion": "v3", "requestId": f"{number:x}", "event": event} if wrapped else event)


def edgex_add(given: Sequence[Row]) -> Iterator[Sent]:
    return edgex(given, wrapped=True)


def _sitewise(value: float, at: int) -> Body:
    return {
        "value": {"doubleValue": value},
        "timestamp": {"timeInSeconds": at // 1000, "offsetInNanos": at % 1000 * 1_000_000},
        "quality": "GOOD",
    }


def sitewise(given: Sequence[Row]) -> Iterator[Sent]:
    """One entry of AWS IoT SiteWise's batches a message, by alias."""
    for row in given:
        for channel, value in row.values.items():
            body = {"propertyAlias": f"/plant/line3/{row.machine}/{channel}"}
            yield Sent({**body, "propertyValues": [_sitewise(value, row.at + 500)]})


def sitewise_batch(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        entries = [
            {"entryId": f"{place}", "propertyAlias": f"/plant/line3/{row.machine}/{channel}"}
            | {"propertyValues": [_sitewise(value, row.at)]}
            for place, (channel, value) in enumerate(row.values.items())
        ]
        yield Sent({"entries": entries})


def sitewise_update(given: Sequence[Row]) -> Iterator[Sent]:
    """The notification of a property: ids of asset and property."""
    for row in given:
        for channel, value in row.values.items():
            payload = {"assetId": f"a1b2-{row.machine}", "propertyId": f"p9-{channel}"}
            yield Sent({"type": "PropertyValueUpdate", "payload": {**payload, "values": [_sitewise(value, row.at)]}})


def thingsboard(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"deviceName": row.machine, "ts": row.at, "values": row.values})


def thingsboard_gateway(given: Sequence[Row]) -> Iterator[Sent]:
    """The gateway's telemetry: each device is a member."""
    for step in steps_of(given):
        yield Sent({f"Device {row.machine}": [{"ts": row.at, "values": row.values}] for row in step})


def cumulocity(given: Sequence[Row]) -> Iterator[Sent]:
    """A measurement of Cumulocity: fragments, series, units."""
    for row in given:
        series = {f"c8y_{name}": {"S": {"value": value, "unit": "x"}} for name, value in row.values.items()}
        yield Sent({"source": {"id": f"{row.machine}"}, "time": iso(row.at), "type": "c8y_Pump", **series})


def losant(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        yield Sent({"deviceId": f"5f-{row.machine}", "time": {"$date": iso(row.at)}, "data": row.values})


def ngsi(given: Sequence[Row]) -> Iterator[Sent]:
    """An entity of NGSI-LD."""
    for row in given:
        fields = {n: {"type": "Property", "value": x, "observedAt": iso(row.at)} for n, x in row.values.items()}
        yield Sent({"id": f"urn:ngsi-ld:Pump:{row.machine}", "type": "Pump", **fields})


def mindconnect(given: Sequence[Row]) -> Iterator[Sent]:
    """Siemens' time series: samplings with texts as values, the machine in the key."""
    for row in given:
        values = [{"dataPointId": n, "value": f"{x}", "qualityCode": "0"} for n, x in row.values.items()]
        yield Sent({"timeseries": [{"timestamp": iso(row.at), "values": values}]}, key=row.machine)


def prometheus_adapter(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        for channel, value in row.values.items():
            labels = {"__name__": channel, "instance": f"{row.machine}:9100", "job": "pumps"}
            yield Sent({"labels": labels, "name": channel, "timestamp": iso(row.at, 0), "value": f"{value}"})


def industrial_edge(given: Sequence[Row]) -> Iterator[Sent]:
    """Values with a quality code of the sender's own, where 3 is good."""
    for number, row in enumerate(given):
        vals = [{"id": f"{row.machine}.{n}", "qc": 3, "ts": iso(row.at), "val": x} for n, x in row.values.items()]
        yield Sent({"seq": number, "vals": vals})


def cloud_events(given: Sequence[Row]) -> Iterator[Sent]:
    for number, row in enumerate(given):
        body = {
            "specversion": "1.0",
            "id": f"{number}-{number:x}",
            "source": f"/plant/{row.machine}",
            "type": "reading",
        }
        yield Sent({**body, "time": iso(row.at), "data": row.values})


def json_key(given: Sequence[Row]) -> Iterator[Sent]:
    """The machine is in a key that is JSON."""
    for row in given:
        yield Sent({"eventTime": row.at, **row.values}, key=json.dumps({"machine": row.machine}))


# Historians and databases.


def ignition(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        for channel, value in row.values.items():
            body = {"tagPath": f"[default]Line 3/{row.machine}/{channel}", "value": value, "quality": 192}
            yield Sent({**body, "t_stamp": row.at})


def historian(given: Sequence[Row]) -> Iterator[Sent]:
    """Rows of a historian's REST interface, flags for the quality."""
    for row in given:
        items = [
            {
                "Name": f"{row.machine}_{c}",
                "Timestamp": iso(row.at, 7),
                "Value": x,
                "Good": True,
                "UnitsAbbreviation": "u",
            }
            for c, x in row.values.items()
        ]
        yield Sent({"Links": {}, "Items": items})


def omf(given: Sequence[Row]) -> Iterator[Sent]:
    """Containers with values, as sent to a PI system."""
    for row in given:
        times = iso(row.at)
        yield Sent(
            [
                {"containerid": f"{row.machine}_{n}", "values": [{"timestamp": times, "value": x}]}
                for n, x in row.values.items()
            ]
        )


def connect(given: Sequence[Row]) -> Iterator[Sent]:
    """Kafka Connect's JSON with its schema."""
    fields = [{"field": "machine", "type": "string"}, {"field": "ts", "type": "int64"}]
    schema = {"type": "struct", "fields": fields, "optional": False}
    for row in given:
        yield Sent({"schema": schema, "payload": {"machine": row.machine, "ts": row.at, **row.values}})


def debezium(given: Sequence[Row]) -> Iterator[Sent]:
    """Changes of a table: one in fifty is a deletion, which has no reading."""
    for number, row in enumerate(given):
        record: Body = {"id": number, "machine": row.machine, "read_at": row.at, **row.values}
        gone = number % 50 == 49
        source = {"connector": "postgresql", "table": "readings", "lsn": 24_023_128 + number, "ts_ms": row.at + 400}
        body = {"before": record if gone else None, "after": None if gone else record, "source": source}
        yield Sent({**body, "op": "d" if gone else "c", "ts_ms": row.at + 900})


def debezium_envelope(given: Sequence[Row]) -> Iterator[Sent]:
    for sent in debezium(given):
        yield Sent({"schema": {"type": "struct", "name": "plant.Envelope", "fields": []}, "payload": sent.value})


def debezium_unwrapped(given: Sequence[Row]) -> Iterator[Sent]:
    for number, row in enumerate(given):
        record = {"id": number, "machine": row.machine, "read_at": row.at, **row.values}
        yield Sent({**record, "__op": "c", "__ts_ms": row.at + 900, "__deleted": "false"})


# Telegraf.


def telegraf(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        tags = {"host": "edge01", "asset": row.machine}
        yield Sent({"fields": row.values, "name": "pump", "tags": tags, "timestamp": row.at // 1000})


def telegraf_lines(given: Sequence[Row]) -> Iterator[Sent]:
    """Points of several plug-ins: texts, booleans, integers and spaces in names and tags."""
    for row in given:
        v = row.values
        tail = f"{row.at}000000"
        tags = f"host=edge\\ 1,machine=Pump\\ {row.machine}"
        yield Sent(f'modbus,{tags} flow={v["flow"]},pressure={v["pressure"]},mode="auto" {tail}')
        yield Sent(f"opcua,{tags} current={v['current']},temp={v['temp']},vib={v['vib']} {tail}")
        yield Sent(f'coils,{tags} state="RUN" {tail}')


def telegraf_opcua(given: Sequence[Row]) -> Iterator[Sent]:
    """The OPC UA plug-in without a tag: the node's name is the field, a text is the quality."""
    for row in given:
        for channel, value in row.values.items():
            node = f"{row.machine}.{channel}"
            fields = f'{node}={value},Quality="The operation succeeded. StatusGood (0x0)"'
            yield Sent(f"opcua,host=edge01,id=ns\\=2;s\\={node} {fields} {row.at}000000")


def telegraf_opcua_json(given: Sequence[Row]) -> Iterator[Sent]:
    for row in given:
        for channel, value in row.values.items():
            node = f"{row.machine}.{channel}"
            fields = {node: value, "Quality": "The operation succeeded. StatusGood (0x0)"}
            tags = {"host": "edge01", "id": f"ns=2;s={node}"}
            yield Sent({"fields": fields, "name": "opcua", "tags": tags, "timestamp": row.at})


def telegraf_mqtt(given: Sequence[Row]) -> Iterator[Sent]:
    """The MQTT consumer: the topic is a tag."""
    for row in given:
        for channel, value in row.values.items():
            yield Sent(f"mqtt_consumer,host=e1,topic=plant/{row.machine}/{channel} value={value} {row.at}000000")


def telegraf_groups(given: Sequence[Row]) -> Iterator[Sent]:
    """OPC UA groups without a tag: the measurement is the machine."""
    for row in given:
        for channel, value in row.values.items():
            tags = f"host=e1,id=ns\\=2;s\\={row.machine}.{channel}"
            yield Sent(f'{row.machine},{tags} {channel}={value},Quality="OK (0x0)" {row.at}000000')


def _gateway(build: Builder, preset: str = "", assets: Iterable[str] = MACHINES, **more: Any) -> Gateway:
    channels = frozenset(more.pop("channels", CHANNELS))
    return Gateway(build.__name__, build, frozenset(assets), channels, preset, **more)


def _named(pattern: str, names: Iterable[str]) -> list[str]:
    return [pattern.format(name) for name in names]


_PARTS: Mapping[str, str] = {
    "flow": "hydraulic.flow",
    "pressure": "hydraulic.pressure",
    "current": "motor.current",
    "temp": "motor.temp",
    "vib": "motor.vib",
}
_POINTS = ("modbus.flow", "modbus.pressure", "opcua.current", "opcua.temp", "opcua.vib")
GATEWAYS = (
    _gateway(node_red),
    _gateway(node_red_nested, assets="123", channels=_PARTS.values()),
    _gateway(flat_topic),
    _gateway(flat_header),
    _gateway(flat_states),
    _gateway(flat_texts),
    _gateway(flat_no_zone),
    _gateway(flat_ticks),
    _gateway(one_table),
    _gateway(by_machine),
    _gateway(kepware, "kepware"),
    _gateway(kepware_array, "kepware-array"),
    _gateway(kepware_single, "kepware-array"),
    _gateway(kepware_advanced),
    _gateway(pubsub, "opcua-pubsub"),
    _gateway(pubsub_plain, "opcua-pubsub"),
    _gateway(pubsub_nodes, "opcua-pubsub"),
    _gateway(publisher_nested, "opc-publisher"),
    _gateway(publisher_flat, "opc-publisher"),
    _gateway(publisher_batched, "opc-publisher"),
    _gateway(sparkplug, "sparkplug", assets=_named("Edge1/{}", MACHINES)),
    _gateway(sparkplug_typed, "sparkplug", assets=_named("Edge1/{}", MACHINES)),
    _gateway(sparkplug_injector),
    _gateway(umh, "umh", assets=_named("acme.cologne.packaging.{}", MACHINES)),
    _gateway(umh_tags, "umh-tag", assets=_named("acme.cologne.packaging.{}", MACHINES)),
    _gateway(mqtt_wrapped),
    _gateway(edgex, "edgex"),
    _gateway(edgex_add, "edgex-add-event"),
    _gateway(sitewise, "sitewise"),
    _gateway(sitewise_batch, "sitewise-batch"),
    _gateway(
        sitewise_update, "sitewise-update", assets=_named("a1b2-{}", MACHINES), channels=_named("p9-{}", CHANNELS)
    ),
    _gateway(thingsboard),
    _gateway(thingsboard_gateway, "thingsboard-gateway", assets=_named("Device_{}", MACHINES)),
    _gateway(cumulocity, channels=_named("c8y_{}.S", CHANNELS)),
    _gateway(losant, assets=_named("5f-{}", MACHINES)),
    _gateway(ngsi, assets=_named("urn:ngsi-ld:Pump:{}", MACHINES)),
    _gateway(mindconnect),
    _gateway(industrial_edge),
    _gateway(cloud_events, assets=_named("/plant/{}", MACHINES)),
    _gateway(json_key),
    _gateway(prometheus_adapter, assets=_named("{}:9100", MACHINES)),
    _gateway(ignition),
    _gateway(historian),
    _gateway(omf),
    _gateway(connect, "connect"),
    _gateway(debezium, "debezium"),
    _gateway(debezium_envelope, "debezium-envelope"),
    _gateway(debezium_unwrapped),
    _gateway(telegraf, channels=_named("pump.{}", CHANNELS)),
    _gateway(telegraf_lines, assets=_named("Pump_{}", MACHINES), channels=_POINTS),
    _gateway(telegraf_mqtt),
    _gateway(telegraf_groups),
    _gateway(telegraf_opcua),
    _gateway(telegraf_opcua_json),
)
