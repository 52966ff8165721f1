"""An inspection office behind a broker: it subscribes, keeps every letter, parses it with the CloudEvents SDK, and sends its receipt if it is told to."""
import json
import threading
import time
import uuid

import paho.mqtt.client as mqtt
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from inspector import Request

HEADERS = {"content-type": "application/cloudevents+json"}


class MqttOffice:
    def __init__(self, port, topic="gatehouse/#", receipts=None):
        """`receipts`: the topic on which it says which letters it has; without one the broker's word is all there is."""
        self.port, self.receipts, self.requests = port, receipts, []
        self._lock, self._subscribed = threading.Lock(), threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"office-{uuid.uuid4().hex[:8]}", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take

    def start(self):
        self._client.connect_async("127.0.0.1", self.port)
        self._client.loop_start()
        assert self._subscribed.wait(20), "the broker did not answer"
        return self

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client, _, message):
        if message.topic == self.receipts:
            return
        try:
            from_structured_event(HTTPMessage(HEADERS, message.payload))
            verdict, headers = "ok", {"webhook-id": json.loads(message.payload)["id"]}
        except Exception as error:  # whatever the SDK refuses
            verdict, headers = f"event: {error!r}", {}
        with self._lock:
            self.requests.append(Request(time.time_ns(), headers, message.payload, verdict, message.topic, verdict == "ok"))
        if self.receipts and verdict == "ok":
            client.publish(self.receipts, headers["webhook-id"], qos=1)

    def received(self):
        with self._lock:
            return list(self.requests)

    accepted = received
