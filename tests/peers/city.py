#!/usr/bin/env python3
"""The city's side of an MQTT endpoint (paho-mqtt): hears everything under a topic, parses it with the CloudEvents SDK, keeps it in order of
arrival (`letters`: all of it, whatever its form), and can say something back: receipts, acknowledgements, commands."""
import dataclasses
import json
import threading
import time
import uuid

import paho.mqtt.client as mqtt
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event


@dataclasses.dataclass
class Heard:
    ns: int
    topic: str
    body: bytes
    event: object  # as the SDK has it

    @property
    def json(self):
        return json.loads(self.body)


class City:
    """`confirms`: a topic on which each letter's id is published as soon as it is heard."""

    def __init__(self, port, topic, confirms=None):
        self.heard, self.wrong, self.letters, self.confirms = [], [], [], confirms
        self._lock = threading.Lock()
        # its session outlives the broker's restarts only where the broker keeps it: what is published while it is away is lost with that
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"city-{uuid.uuid4().hex[:8]}", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10), "the broker did not answer"

    def _on_message(self, _client, _data, message):
        self.letters.append((message.topic, message.payload))
        try:
            event = from_structured_event(HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=message.payload))
        except Exception as why:  # whatever the SDK finds wrong with it is a finding
            self.wrong.append((message.topic, message.payload, why))
            return
        with self._lock:
            self.heard.append(Heard(time.time_ns(), message.topic, message.payload, event))
        if self.confirms:
            self.says(self.confirms, {"id": event.get_id()}, wait=False)

    def says(self, topic, word, wait=True, retain=False):
        sent = self._client.publish(topic, word if isinstance(word, str) else json.dumps(word), qos=1, retain=retain)
        if wait:
            sent.wait_for_publish(10)

    def of(self, kind):
        with self._lock:
            return [heard for heard in self.heard if heard.event.get_type() == kind]

    def alarms(self):
        with self._lock:
            return [heard for heard in self.heard if heard.event.get_type().startswith("gatehouse.alarm.")]

    def connected(self):
        return self._client.is_connected()

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()
