"""An OPC UA server with three pumps, as a controller shows them: numbers, a boolean, a text, a counter.

    python -m tests.chain.plc PORT STEP_S

It prints a line once it listens, and obeys the commands of faults.py. A failed sensor has bad status, with the value 0.

Temperatures change each fifth step, hours each twentieth, Running and Mode not at all.
"""

import asyncio
import math
import random
import sys
import time
from datetime import UTC, datetime

from asyncua import Server, ua
from asyncua.common.node import Node

from tests.chain.faults import PUMPS, Faults

_PROGRAM = (("Flow", 20.0), ("Pressure", 4.0), ("Bearing Temp", 45.0), ("Motor.Current", 11.0))
_FAILED = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadSensorFailure))
_HOURS = 12_345


async def _plant(server: Server) -> dict[str, dict[str, Node]]:
    """Make the variables of each pump."""
    space = await server.register_namespace("urn:plant")
    line = await server.nodes.objects.add_folder(space, "Line1")
    pumps = {}
    for pump in PUMPS:
        place = await line.add_object(ua.NodeId(pump, space), pump)
        values = [*_PROGRAM, ("Running", True), ("Mode", "AUTO"), ("Hours", ua.Variant(_HOURS, ua.VariantType.UInt32))]
        pumps[pump] = {
            name: await place.add_variable(ua.NodeId(f"{pump}.{name}", space), name, value) for name, value in values
        }
    return pumps


async def _step(pumps: dict[str, dict[str, Node]], loads: list[float], step: int, faults: Faults) -> None:
    """Write the values of one step."""
    for number, (pump, nodes) in enumerate(pumps.items()):
        loads[number] += 0.1 * (0.5 + 0.3 * math.sin(step / 30 + number) - loads[number]) + random.gauss(0, 0.01)
        load = loads[number]
        usual = {
            "Flow": 40 * load + random.gauss(0, 0.2),
            "Pressure": 6 - 4 * load**2 + random.gauss(0, 0.03),
            "Motor.Current": 5 + 12 * load + random.gauss(0, 0.1),
        }
        if step % 5 == 0:
            usual["Bearing Temp"] = 40 + 10 * load + random.gauss(0, 0.1)
        for name, value in usual.items():
            await nodes[name].write_attribute(ua.AttributeIds.Value, _value(faults.value(pump, name, value)))
        if step % 20 == 0:
            await nodes["Hours"].write_value(ua.Variant(_HOURS + step // 20, ua.VariantType.UInt32))


def _value(value: float | None) -> ua.DataValue:
    now = datetime.now(UTC)
    if value is None:
        return ua.DataValue(ua.Variant(0.0, ua.VariantType.Double), StatusCode=_FAILED, SourceTimestamp=now)
    return ua.DataValue(ua.Variant(value, ua.VariantType.Double), SourceTimestamp=now)


async def main(port: int, step_s: float) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    pumps = await _plant(server)

    faults = Faults()
    async with server:
        asyncio.get_running_loop().add_reader(sys.stdin, faults.obey)
        print("listening", flush=True)
        begin, step, loads = time.time(), 0, [0.5] * len(PUMPS)
        while True:
            await _step(pumps, loads, step, faults)
            step += 1
            await asyncio.sleep(max(0.0, begin + step * step_s - time.time()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
