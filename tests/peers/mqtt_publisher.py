#!/usr/bin/env python3
"""Parking sensors as a LoRaWAN network server shows them: ChirpStack v4 uplinks of a Milesight VS330 (paho-mqtt, QoS 1), with a ledger.

`data` is the sensor's own: channel, type, value (`01 75 xx` battery, `02 82 ll hh` distance, `03 8E xx` occupancy, `04 8E xx`
calibration); `object` is what the maker's decoder makes of it. As in proto3 JSON, `fCnt` is left out when it is zero.
"""
import argparse
import base64
import datetime
import json
import threading
import time
import uuid

import paho.mqtt.client as mqtt

from ledger import Ledger


def uplink(address, count, occupied, battery):
    data = bytes([0x01, 0x75, battery, 0x02, 0x82, 0x0F, 0x00, 0x03, 0x8E, int(occupied), 0x04, 0x8E, 0x01])
    decoded = {"battery": battery, "distance": 15, "occupancy": "occupied" if occupied else "vacant", "calibration_status": "success"}
    message = {
        "deduplicationId": str(uuid.uuid4()),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "deviceInfo": {"applicationId": "1", "applicationName": "parking", "deviceName": f"bay-{address}", "devEui": address},
        "devAddr": "01020304", "adr": True, "dr": 5, "fPort": 85,
        "data": base64.b64encode(data).decode(),
        "object": decoded,
        "rxInfo": [{"gatewayId": "24e124fffef00001", "rssi": -60, "snr": 9.5}],
    }
    if count:
        message["fCnt"] = count
    return message


class Publisher:
    def __init__(self, port, application="1", ledger=None):
        self.application, self.ledger, self._counts = application, ledger or Ledger(), {}
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"network-server-{uuid.uuid4().hex[:8]}")
        connected = threading.Event()
        self._client.on_connect = lambda *_: connected.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert connected.wait(10), "the broker did not answer"

    def publish(self, address, occupied, battery):
        """One uplink of one sensor; returns when the broker has it (PUBACK)."""
        count = self._counts[address] = self._counts.get(address, -1) + 1
        time.sleep(0.002)  # no two uplinks carry the same millisecond: their order can be told by their time
        message = uplink(address, count, occupied, battery)
        self.ledger.write(unit=address, table="uplink", address="occupied", value=occupied, battery=battery, count=count)
        topic = f"application/{self.application}/device/{address}/event/up"
        self._client.publish(topic, json.dumps(message), qos=1).wait_for_publish(10)

    def raw(self, topic, payload):
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--sensors", type=int, default=5, help="how many; addresses are 24e1240000000001 and on")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two uplinks")
    parser.add_argument("--ledger", help="JSONL file of everything that was published")
    a = parser.parse_args()
    publisher, n = Publisher(a.port, ledger=Ledger(a.ledger)), 0
    while True:
        publisher.publish(f"24e12400000000{n % a.sensors + 1:02x}", n // a.sensors % 2 == 0, 100 - n % 50)
        n += 1
        time.sleep(a.every)
