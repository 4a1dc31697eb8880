"""docs/gateways.md: what `monitor onboard` reads without an edit. `python -m tests.gateways_page` writes it anew."""

from pathlib import Path

from monitor.core.decode.format import Format
from monitor.onboard.format.recognise import recognise
from tests.gateways import GATEWAYS, START, messages

PAGE = Path(__file__).parents[1] / "docs" / "gateways.md"
_LONG = 96  # characters of an example
_TITLES = {
    "node_red": "Node-RED and other flat JSON",
    "node_red_nested": "flat JSON with parts of the machine as objects",
    "flat_topic": "flat JSON, machine in the key only",
    "flat_header": "flat JSON, machine in a header",
    "flat_states": "flat JSON with states, texts and counters of messages",
    "flat_texts": "flat JSON, numbers as texts",
    "flat_no_zone": "flat JSON, times without a zone",
    "flat_ticks": "flat JSON, .NET ticks",
    "one_table": "one object with all machines' tags",
    "by_machine": "one object for each machine",
    "kepware": "KEPServerEX IoT Gateway, standard template",
    "kepware_array": "KEPServerEX, array",
    "kepware_single": "KEPServerEX, single items",
    "kepware_advanced": "KEPServerEX, a template of one's own",
    "pubsub": "OPC UA PubSub JSON, DataValues",
    "pubsub_plain": "OPC UA PubSub JSON, plain values",
    "pubsub_nodes": "OPC Publisher in PubSub mode, nodes of all machines",
    "publisher_nested": "OPC Publisher, samples, nested",
    "publisher_flat": "OPC Publisher, samples, flat",
    "publisher_batched": "OPC Publisher, batched arrays",
    "sparkplug": "Sparkplug B as JSON",
    "sparkplug_typed": "Sparkplug B as JSON, fields of the protocol buffer",
    "sparkplug_injector": "Sparkplug B with its topic in the message",
    "umh": "United Manufacturing Hub, several tags a message",
    "umh_tags": "United Manufacturing Hub, one tag a message",
    "mqtt_wrapped": "rules of MQTT brokers (topic and payload as fields)",
    "edgex": "EdgeX events",
    "edgex_add": "EdgeX add-event requests",
    "sitewise": "AWS IoT SiteWise, one property",
    "sitewise_batch": "AWS IoT SiteWise, batches",
    "sitewise_update": "AWS IoT SiteWise, notifications",
    "thingsboard": "ThingsBoard, device in a field",
    "thingsboard_gateway": "ThingsBoard gateway",
    "cumulocity": "Cumulocity measurements",
    "losant": "Losant",
    "ngsi": "NGSI-LD entities",
    "mindconnect": "Siemens time series",
    "industrial_edge": "values with a quality code of the sender's own",
    "cloud_events": "CloudEvents",
    "json_key": "flat JSON, machine in a key that is JSON",
    "omf": "containers with values (OMF)",
    "telegraf_mqtt": "Telegraf MQTT consumer, line protocol",
    "telegraf_groups": "Telegraf OPC UA groups without a tag",
    "prometheus_adapter": "Prometheus by its Kafka adapter",
    "ignition": "Ignition tag events",
    "historian": "rows of historians' REST interfaces",
    "connect": "Kafka Connect JSON with schema",
    "debezium": "Debezium changes",
    "debezium_envelope": "Debezium changes with schema",
    "debezium_unwrapped": "Debezium, unwrapped",
    "telegraf": "Telegraf JSON",
    "telegraf_lines": "Telegraf line protocol, several plug-ins",
    "telegraf_opcua": "Telegraf OPC UA without a tag, line protocol",
    "telegraf_opcua_json": "Telegraf OPC UA without a tag, JSON",
}
_HEAD = """# Gateways that are read without an edit

`monitor onboard` recognises these messages, and the file that it writes monitors them as it is. Each row is a test
with three machines of five channels: the machines are kept apart, and names, times and values are right. The list is
no limit: what it recognises is the form, not the sender. The last column is the setting that does it;
[field-map.md](field-map.md) explains them.

| sender | example | read by |
|---|---|---|
"""


def page() -> str:
    """Return the page, from what is recognised now."""
    lines = []
    for gateway in GATEWAYS:
        run = messages(gateway, 60)
        found = recognise([run], START + 10**9)
        example = (run[0].value or b"").decode().replace("|", "\\|")
        short = example if len(example) <= _LONG else f"{example[:_LONG]} …"
        lines.append(f"| {_TITLES[gateway.name]} | `{short}` | {_how(found.preset, found.format)} |")
    return _HEAD + "\n".join(lines) + "\n"


def _how(preset: str, form: Format) -> str:
    """Return the settings that matter most."""
    parts = [f'`preset = "{preset}"`' if preset else f'`kind = "{form.kind}"`']
    if form.patterns and not preset:
        parts.append(f"a pattern for `{form.patterns[0].place}`")
    return ", ".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
