"""An MQTT broker with six presses and fans, as two gateways send them.

    python -m tests.chain.meters PORT STEP_S

    plant/line1/press-1          {"ts": 1750000000000, "force": 81.2, …, "state": "RUN", "parts": 17}
    plant/line2/fan-1/speed      1480.2

It prints a line once it listens, and obeys the commands of faults.py. Of a failed sensor a press sends the text Bad,
and a fan nothing.
"""

import asyncio
import json
import math
import random
import sys
import time

from amqtt.broker import Broker
from amqtt.client import MQTTClient

from tests.chain.faults import FANS, PRESSES, Faults


def _press(load: float) -> dict[str, float]:
    return {
        "force": 60 + 50 * load + random.gauss(0, 0.4),
        "stroke": 120 - 30 * load + random.gauss(0, 0.3),
        "oil_temp": 38 + 12 * load + random.gauss(0, 0.1),
        "power": 4 + 9 * load**2 + random.gauss(0, 0.05),
    }


def _fan(load: float) -> dict[str, float]:
    return {
        "speed": 900 + 700 * load + random.gauss(0, 4),
        "current": 3 + 8 * load**2 + random.gauss(0, 0.05),
        "vibration": 1.5 + load + random.gauss(0, 0.03),
    }


async def _step(client: MQTTClient, loads: dict[str, float], step: int, faults: Faults) -> None:
    for number, (machine, before) in enumerate(loads.items()):
        load = before + 0.1 * (0.5 + 0.3 * math.sin(step / 30 + number) - before) + random.gauss(0, 0.01)
        loads[machine] = load
        usual = _press(load) if machine in PRESSES else _fan(load)
        known = {name: faults.value(machine, name, value) for name, value in usual.items()}
        if machine in PRESSES:
            body = {"ts": round(time.time() * 1000), "state": "RUN", "parts": step // 10}
            body |= {name: "Bad" if value is None else value for name, value in known.items()}
            await client.publish(f"plant/line1/{machine}", json.dumps(body).encode())
            continue
        for name, value in known.items():
            if value is not None:
                await client.publish(f"plant/line2/{machine}/{name}", str(value).encode())


async def main(port: int, step_s: float) -> None:
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}})
    await broker.start()
    client = MQTTClient(config={"auto_reconnect": False})
    await client.connect(f"mqtt://127.0.0.1:{port}/")

    faults = Faults()
    asyncio.get_running_loop().add_reader(sys.stdin, faults.obey)
    print("listening", flush=True)
    begin, step, loads = time.time(), 0, dict.fromkeys((*PRESSES, *FANS), 0.5)
    while True:
        await _step(client, loads, step, faults)
        step += 1
        await asyncio.sleep(max(0.0, begin + step * step_s - time.time()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
