#!/usr/bin/env python3
"""Many Modbus TCP devices, most of them dead, each in its own way. One word a port, `KIND:PORT:UNITS`:

    live:5001:1,2   pymodbus answers for these units; for any other it says 0x0B, as a serial server does for a dead unit behind it
    silent:5002:    the connection is taken and nothing is ever said
    close:5003:     the connection is taken and closed
    drop:5004:      the backlog is full: SYNs are dropped, nobody says anything at all
(A refusing port is one on which nothing listens.) On SIGTERM the ledger is written: {"PORT:UNIT": times of its requests}.
"""
import argparse
import asyncio
import collections
import json
import logging
import signal
import socket
import time

from pymodbus.server import ModbusTcpServer

from modbus_server import device

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class Field:
    def __init__(self):
        self.asked, self.held = collections.defaultdict(list), []

    async def live(self, port, units):
        def trace(sending, pdu):
            if not sending:
                self.asked[f"{port}:{pdu.dev_id}"].append(time.time())
            return pdu

        server = ModbusTcpServer([device(unit, 64) for unit in units], address=("127.0.0.1", port), trace_pdu=trace)
        await server.serve_forever(background=True)
        self.held.append(server)

    async def silent(self, port, _):
        self.held.append(await asyncio.start_server(lambda reader, writer: self.held.append(writer), "127.0.0.1", port))

    async def close(self, port, _):
        self.held.append(await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port))

    async def drop(self, port, _):
        listener = socket.create_server(("127.0.0.1", port), backlog=0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        self.held += [listener, *fillers]


async def serve(words, ledger):
    field, stop = Field(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    for word in words:
        kind, port, units = word.split(":")
        await getattr(field, kind)(int(port), [int(unit) for unit in units.split(",") if unit])
    print("ready", flush=True)
    await stop.wait()
    with open(ledger, "w") as out:
        json.dump(field.asked, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ports", nargs="+", metavar="KIND:PORT:UNITS")
    parser.add_argument("--ledger", required=True)
    a = parser.parse_args()
    asyncio.run(serve(a.ports, a.ledger))
