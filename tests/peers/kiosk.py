#!/usr/bin/env python3
"""Recycling kiosks that speak the project's JSON format over MQTT (paho-mqtt, QoS 1), with a ledger of all they said.

A message is built first and sent later, so that it can be sent again as it was: by a network that repeats, or by somebody who kept it.
"""
import datetime
import json
import threading
import uuid

import paho.mqtt.client as mqtt

from ledger import Ledger


def topic(kiosk):
    return f"gatehouse/kiosk/{kiosk}/up"


class Kiosks:
    """`ca`, `cert`, `key`: for a broker that wants TLS."""

    def __init__(self, port, host="127.0.0.1", ca=None, cert=None, key=None):
        self.ledger, self._counts, self._last = Ledger(), {}, datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"kiosks-{uuid.uuid4().hex[:8]}")
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(20)
        if ca:
            self._client.tls_set(ca_certs=str(ca), certfile=str(cert), keyfile=str(key))
        connected = threading.Event()
        self._client.on_connect = lambda *_: connected.set()
        self._client.connect(host, port)
        self._client.loop_start()
        assert connected.wait(10), "the broker did not answer"

    def message(self, kiosk, ago=0.0, pad=0, **fields):
        """The next message of this kiosk; no two of its messages carry the same millisecond."""
        count = self._counts[kiosk] = self._counts.get(kiosk, -1) + 1
        now = max(datetime.datetime.now(datetime.timezone.utc), self._last + datetime.timedelta(milliseconds=1))
        self._last = now
        at = (now - datetime.timedelta(seconds=ago)).isoformat(timespec="milliseconds")
        return json.dumps({"time": at, "seq": count, **fields, **({"pad": "x" * pad} if pad else {})})

    def switch_on(self, kiosk):
        """Its count begins anew."""
        self._counts.pop(kiosk, None)

    def send(self, kiosk, message, retain=False):
        """Returns when the broker has it (PUBACK)."""
        said = json.loads(message)
        self.ledger.write(unit=kiosk, table="said", address=said["seq"], value=said.get("weight_kg"), time=said["time"])
        self.raw(topic(kiosk), message, retain)

    def post(self, kiosk, message):
        """Sent, and nobody waits for the broker."""
        said = json.loads(message)
        self.ledger.write(unit=kiosk, table="said", address=said["seq"], value=said.get("weight_kg"), time=said["time"])
        return self._client.publish(topic(kiosk), message, qos=1)

    def raw(self, where, payload, retain=False):
        self._client.publish(where, payload, qos=1, retain=retain).wait_for_publish(10)

    def connected(self):
        return self._client.is_connected()

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()


class Scale:
    """What one kiosk took in, by its own counter (in grams) and delivery by delivery. It survives the kiosk's power, as the format wants."""

    def __init__(self, kiosks, kiosk, total_g):
        self._kiosks, self.kiosk, self.total_g, self.delivered = kiosks, kiosk, total_g, {}

    def take(self, grams, card, category="paper", scale="stable", told_kg=None):
        """The message of a new delivery. What is not at rest, or nothing, is not counted."""
        transaction = f"{self.kiosk}-{len(self.delivered) + 1:06}"
        self.delivered[transaction] = grams if scale == "stable" and grams > 0 else 0
        self.total_g += self.delivered[transaction]
        return self.message(transaction, grams / 1000 if told_kg is None else told_kg, card, category, scale)

    def message(self, transaction, kg, card, category="paper", scale="stable"):
        return self._kiosks.message(self.kiosk, weight_kg=0.0, scale=scale, transaction=transaction, delivered_kg=kg, card=card,
                                    category=category, total_kg=self.total_g / 1000)

    def again(self, message):
        """The same delivery, told anew: another number, another time, the counter as it stands now."""
        said = json.loads(message)
        return self.message(said["transaction"], said["delivered_kg"], said["card"], said["category"], said["scale"])

    def rests(self):
        return self._kiosks.message(self.kiosk, weight_kg=0.0, scale="stable", total_kg=self.total_g / 1000)
