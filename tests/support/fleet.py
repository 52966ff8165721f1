"""The city's broker as config/fleet has it: three nodes on loopback, with certificates and logins of their own."""
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.request

import paho.mqtt.client as mqtt

from inspector import Request
from support.gateway import ROOT
from support.machine import Process, free_port
from support.tls import Authority
from support.waiting import wait_until

FLEET = ROOT / "config" / "fleet"
NAME, HOSTS = "city.example", ["127.0.0.1", "127.0.0.2", "127.0.0.3"]  # one name, three addresses, as gateways are given it
JUST_NS = 3_000_000_000  # the leaders speak to the others each second


class Node(Process):
    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        self.host, port = environment["MQTT"].rsplit(":", 1)
        self.mqtt = int(port)
        self.monitor = environment["MONITOR"]
        self.start()

    def start(self):
        with_environment = [f"{name}={value}" for name, value in self.environment.items()]
        super().__init__(["env", *with_environment, shutil.which("nats-server") or "/usr/sbin/nats-server", "--config", self.folder / "node.conf"], self.folder / f"{self.environment['NODE']}.log")

    def is_current(self):
        """Whether it says of itself that it has everything; never while it is being used all the time: `City.is_whole`."""
        try:
            return self._asked("healthz")["status"] == "ok"
        except OSError:
            return False

    def groups(self):
        """{name: its cluster} of each stream and consumer that this node has a part in: `leader`, and of the others when they were heard last."""
        accounts = self._asked("jsz?accounts=true&streams=true&consumers=true").get("account_details", [])
        streams = [stream for account in accounts for stream in account.get("stream_detail", [])]
        return {part["name"]: part.get("cluster", {}) for stream in streams for part in [stream, *stream.get("consumer_detail", [])]}

    def _asked(self, what):
        with urllib.request.urlopen(f"http://{self.monitor}/{what}", timeout=2) as answer:
            return json.load(answer)

    def forget(self):
        shutil.rmtree(self.environment["STORE"])

    def kill(self):
        self.stop(signal.SIGKILL)


class City:
    """`logins`: {user: password}, made by config/fleet/compound.sh for each of `sites`."""

    def __init__(self, folder, sites):
        self.folder = folder / "fleet"
        shutil.copytree(FLEET, self.folder)
        authority = Authority(folder, "city")
        certificate, key = authority.signs("node", host=f"DNS:{NAME}," + ",".join(f"IP:{host}" for host in HOSTS), usage="serverAuth,clientAuth")
        self.ca = authority.pem
        self.logins = {site: self.compound(site) for site in sites}
        self.logins["inspection"] = "CHANGE-ME"
        ports = {name: free_port() for name in ("CLIENTS", "MONITOR", "MQTT", "CLUSTER")}
        self.mqtt = ports["MQTT"]
        routes = {f"ROUTE_{n}": f"nats-route://{host}:{ports['CLUSTER']}" for n, host in enumerate(HOSTS, 1)}
        self.nodes = [Node(self.folder, {"NODE": f"city-{n}", "STORE": self.folder / f"store-{n}", "STORE_MAX": "1GB", "CERT": certificate, "KEY": key, "CA": authority.pem,
                                         **routes, **{name: f"{host}:{port}" for name, port in ports.items()}}) for n, host in enumerate(HOSTS, 1)]

    def compound(self, site):
        return subprocess.run(["bash", FLEET / "compound.sh", site, self.folder / "compounds.conf"], check=True, capture_output=True, text=True).stdout.strip()

    def reload(self):
        for node in self.nodes:
            node.popen.send_signal(signal.SIGHUP)

    def is_whole(self):
        """Whether each stream and each consumer has a leader that has just heard from both others: a node that says it is well may not have taken
        up all of them yet, and whoever stops the next one then leaves those without a majority until it is back."""
        try:
            seen = [(node.environment["NODE"], node.groups()) for node in self.nodes]
        except OSError:
            return False
        led = {name: cluster for node, groups in seen for name, cluster in groups.items() if cluster.get("leader") == node}
        heard = [other["active"] < JUST_NS for cluster in led.values() for other in cluster.get("replicas", [])]
        return set(led) == {name for _, groups in seen for name in groups} and len(heard) == 2 * len(led) and all(heard)

    def stop(self):
        for node in self.nodes:
            node.stop()


class Caller:
    """An MQTT client that knows all three nodes and goes to the next whenever it loses the one it has. QoS 1, a session that stays."""

    def __init__(self, city, user, first=0, subscribe=None, client_id=None):
        self.city, self.at, self.heard, self.acknowledged, self.connections = city, first, [], set(), 0
        self._ready, self._leave = threading.Event(), threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id or user, clean_session=False)
        self._client.username_pw_set(user, city.logins[user])
        self._client.tls_set(ca_certs=os.fspath(city.ca), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self._client.on_connect = lambda client, _, __, code, ___: self._connected(client, code, subscribe)
        self._client.on_publish = lambda _, __, number, *___: self.acknowledged.add(number)
        self._client.on_subscribe = lambda _, __, ___, codes, ____: None if codes[0].is_failure else self._ready.set()
        self._client.on_message = lambda _, __, message: self.hear(message.topic, message.payload)
        threading.Thread(target=self._stay, daemon=True).start()

    def hear(self, topic, payload):
        self.heard.append((topic, payload))

    def _connected(self, client, code, subscribe):
        if code.is_failure:
            return
        self.connections += 1
        if subscribe:
            client.subscribe(subscribe, qos=1)
        else:
            self._ready.set()

    def _stay(self):
        while not self._leave.is_set():
            try:
                self._client.connect(self.city.nodes[self.at].host, self.city.nodes[self.at].mqtt, keepalive=5)
                while self._client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS and not self._leave.is_set():
                    pass
            except OSError:
                pass
            self.at = (self.at + 1) % len(self.city.nodes)
            time.sleep(0.3)

    def ready(self, within=60):
        wait_until(self._ready.is_set, within, "the city answers")
        return self

    def publish(self, topic, payload, within=60):
        """Returns when a node has acknowledged it: until then it is said again, as a courier does."""
        number = self._client.publish(topic, payload, qos=1).mid
        wait_until(lambda: number in self.acknowledged, within, f"PUBACK of {payload}", every=0.002)

    def stop(self):
        self._leave.set()
        self._client.disconnect()


class Office(Caller):
    """The inspection office: keeps each letter, then says on city/SITE/receipts that it has it. What it has is as peers/inspector.py has it."""

    def __init__(self, city, first=0):
        self.requests = []
        super().__init__(city, "inspection", first, subscribe="gatehouse/#")

    def hear(self, topic, payload):
        body = json.loads(payload)
        self.requests.append(Request(time.time_ns(), {"webhook-id": body["id"]}, payload, "ok", topic, True))
        self._client.publish(f"city/{topic.split('/')[1]}/receipts", body["id"], qos=1)

    def received(self):
        return list(self.requests)

    accepted = received
