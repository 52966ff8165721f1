"""T38 a broker that forgets · T39 PUBACKs withheld, reordered, made up · T42 somebody else with our client id · T43 PUBACK, and nobody
who hears. What comes in oversize or malformed (T40, T41) is in tests/stories/test_mqtt.py."""
import os
import time

import paho.mqtt.client as mqtt
import pytest

from mqtt_office import MqttOffice
from mqtt_relay import MqttRelay
from support.compound import Residents
from support.fleet import HOSTS, NAME, City, Office
from support.judge import DRAIN, letters, waiting
from support.machine import Broker, free_port
from support.waiting import never, wait_until

BROKER_RESTARTS = int(os.environ.get("BROKER_RESTARTS", 1))  # 180: an hour, one each 20 s
EVERY = 20  # seconds, if there are several
RECEIPTS = "yard/receipts"
A_MINUTE = 60  # how long a receipt or a PUBACK is waited for


def mqtt_endpoint(port, receipt="", priorities=("critical",)):
    return f"""
[[endpoint]]
id      = "office"
purpose = "safety-inspection"
[endpoint.mqtt]
url       = "mqtt://127.0.0.1:{port}"
client_id = "gatehouse-faults"
{receipt}
[endpoint.wants]
classes    = ["panel"]
priorities = [{", ".join(f'"{p}"' for p in priorities)}]
data       = ["public", "operational"]
"""


BY_RECEIPT = f'receipt = {{ topic = "{RECEIPTS}" }}'


@pytest.mark.long
@pytest.mark.row("T38", "a broker without persistence, killed again and again")
@pytest.mark.deadline(300 + 30 * BROKER_RESTARTS)
def test_a_broker_that_forgets(scene, score, ending, tmp_path):
    broker = ending(Broker(tmp_path, persistence=False))
    panels, _, service = scene(12, names=(), more=mqtt_endpoint(broker.port, BY_RECEIPT))
    office = ending(MqttOffice(broker.port, receipts=RECEIPTS).start())
    service.start()
    # for long no more than goes out between two restarts
    hold, rest = (3.0, 2.0) if BROKER_RESTARTS < 10 else (20.0, 10.0)
    residents = Residents(panels, lambda: service.alive_since, hold=hold, rest=rest).start()
    for _ in range(BROKER_RESTARTS):
        known = len(office.accepted())
        wait_until(lambda: len(office.accepted()) > known + 3, 2 * A_MINUTE, "letters come")
        broker.kill()
        down = time.monotonic()
        broker.start()
        ours = lambda: broker.log.read_text().count("as gatehouse-faults (")
        again, known = ours(), len(office.accepted())
        wait_until(lambda: ours() > again, 30, "connected again", every=0.05)
        score.note(f"connected again after {time.monotonic() - down:.1f} s")
        # what the broker had confirmed and forgot is sent again when its receipt is a minute late
        wait_until(lambda: len(office.accepted()) > known, A_MINUTE + 30, "letters come again", every=0.05)
        score.recovered(time.monotonic() - down, A_MINUTE + 30)
        if BROKER_RESTARTS > 1:
            time.sleep(max(0, down + EVERY - time.monotonic()))
    residents.go_home()
    left = waiting(service.folder / "store")
    score.note(f"{left} letters left at the end")
    wait_until(lambda: waiting(service.folder / "store") == 0, 2 * A_MINUTE + left / DRAIN, "every letter has its receipt")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {"office": office}, panels).holds(doubled=8 * BROKER_RESTARTS)


@pytest.mark.long
@pytest.mark.row("T39", "PUBACK withheld, reordered, for an unknown id")
@pytest.mark.deadline(300)
def test_pubacks(scene, score, ending, tmp_path):
    broker = ending(Broker(tmp_path))
    relay = ending(MqttRelay(free_port(), broker.port))
    panels, _, service = scene(6, names=(), more=mqtt_endpoint(relay.port))
    office = ending(MqttOffice(broker.port).start())
    service.start()
    residents = Residents(panels, lambda: service.alive_since, hold=1.5, rest=1.0).start()
    wait_until(lambda: len(office.accepted()) > 5, 30, "all goes well")
    for mode in ("reorder", "unknown"):
        relay.mode, touched, known = mode, relay.touched, len(office.accepted())
        wait_until(lambda: relay.touched >= touched + 6, A_MINUTE, f"{mode}: often enough")
        wait_until(lambda: len(office.accepted()) >= known + 6, A_MINUTE, f"{mode}: letters go on")
    connections = len(relay.connections)
    relay.mode = "withhold"
    withheld = time.monotonic()
    wait_until(lambda: len(relay.connections) > connections, A_MINUTE + 10, "the client is built anew", every=0.2)
    score.note(f"built anew after {time.monotonic() - withheld:.0f} s without a PUBACK")
    assert time.monotonic() - withheld <= A_MINUTE + 5
    known, back = len(office.accepted()), time.monotonic()
    wait_until(lambda: len(office.accepted()) > known, A_MINUTE, "letters go on")
    residents.go_home()
    wait_until(lambda: waiting(service.folder / "store") == 0, 2 * A_MINUTE, "every letter is delivered")
    score.recovered(time.monotonic() - back, 2 * A_MINUTE)
    assert len(relay.connections) - connections <= 6, "no loop of connections"
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {"office": office}, panels).holds(doubled=8 * (len(relay.connections) + 1))


class Rival:
    """Somebody with our client id, who comes back at once whenever the broker throws him out."""

    def __init__(self, port, client_id):
        self.came = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda *_: self.came.append(time.monotonic())
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()


BUS = """
[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:PORT"
client_id = "gatehouse-faults"

[[device]]
id      = "bay"
name    = "车位"
profile = "parking-sensor/milesight-vs330"
bus     = "broker"
address = "24e1240000000001"

[[device]]
id      = "next-bay"
name    = "旁边的车位"
profile = "parking-sensor/milesight-vs330"
bus     = "broker"
address = "24e1240000000002"
"""


def fight(scene, ending, tmp_path, seconds):
    broker = ending(Broker(tmp_path))
    panels, offices, service = scene(1, more=BUS.replace("PORT", str(broker.port)))
    service.start()
    wait_until(lambda: broker.subscribed("gatehouse-faults"), 10, "the subscription")
    rival = ending(Rival(broker.port, "gatehouse-faults"))
    begun, came = time.monotonic(), lambda: broker.log.read_text().count("as gatehouse-faults (")
    wait_until(lambda: time.monotonic() - begun >= seconds, seconds + 5, "they fight", every=0.5)
    ours = came() - 1 - len(rival.came)
    rival.stop()
    return panels, offices, service, broker, ours


@pytest.mark.long
@pytest.mark.row("T42", "somebody else connects with our client id: a person is told")
def test_somebody_with_our_client_id(scene, score, ending, tmp_path):
    """We come back, but not in a loop: the mean wait is 5 s or more, and a person is told. The alarms of other lines go on, and so does this one when he has gone."""
    panels, offices, service, broker, ours = fight(scene, ending, tmp_path, 30)
    score.note(f"{ours} times connected again in 30 s")
    wait_until(lambda: service.alarms("bus:broker", "bus_down"), 15, "a person is told")
    assert 1 <= ours <= 30 / 5 + 2, "5 s a try, and the two short waits with which any outage begins"
    known = len(offices["safety"].accepted())
    panels.push("panel-1", True)
    wait_until(lambda: len(offices["safety"].accepted()) > known, 10, "other lines go on")
    begun = time.monotonic()
    returned = lambda: [alarm for alarm in service.alarms("bus:broker", "bus_down") if alarm["state"] == "returned_unacknowledged"]
    wait_until(returned, 60, "back when he has gone")
    assert broker.subscribed("gatehouse-faults")
    score.recovered(time.monotonic() - begun, 60)
    panels.push("panel-1", False)
    wait_until(lambda: len(offices["safety"].accepted()) == known + 2, 10, "returned, delivered")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", offices, panels).holds()


@pytest.mark.row("T43", "PUBACK, but nobody hears")
@pytest.mark.deadline(300)
def test_nobody_hears(scene, score, ending, tmp_path):
    broker = ending(Broker(tmp_path))
    panels, _, service = scene(2, names=(), more=mqtt_endpoint(broker.port, BY_RECEIPT))
    service.start()
    panels.push("panel-1", True)
    wait_until(lambda: broker.log.read_text().count("Received PUBLISH from gatehouse-faults") >= 1, 20, "it is published")
    never(lambda: [letter for letter in letters(service.folder / "store") if letter.state == "delivered"], 5, "a PUBACK taken for a receipt")
    office = ending(MqttOffice(broker.port, receipts=RECEIPTS).start())
    begun = time.monotonic()
    wait_until(lambda: office.accepted(), 120, "sent again, and heard")
    score.recovered(time.monotonic() - begun, 120)
    panels.push("panel-1", False)
    wait_until(lambda: len({request.id for request in office.accepted()}) == 2, A_MINUTE, "returned, delivered")
    wait_until(lambda: waiting(service.folder / "store") == 0, 2 * A_MINUTE, "every letter has its receipt")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {"office": office}, panels).holds(doubled=2)


CITY = """
[[endpoint]]
id      = "office"
purpose = "safety-inspection"
[endpoint.mqtt]
url       = "mqtts://NAME:PORT"
client_id = "faults"
username  = "faults"
password  = { file = "city-password" }
ca_file   = "CA"
receipt   = { topic = "city/faults/receipts" }
[endpoint.wants]
classes    = ["panel"]
priorities = ["critical"]
data       = ["public", "operational"]
"""


@pytest.mark.long
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.row("N01", "the city's broker: the gateway's node killed with -9 in the midst of letters")),
                                    pytest.param(2, marks=pytest.mark.row("N02", "the city's broker: the office's node killed with -9 in the midst of letters"))])
@pytest.mark.deadline(300)
def test_a_node_of_the_city_is_killed(scene, score, ending, tmp_path, victim):
    """The gateway is given one name with three addresses, and takes the first; the office sits at the third."""
    city = ending(City(tmp_path, ["faults"]))
    office = ending(Office(city, first=2)).ready()
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{host} {NAME}\n" for host in HOSTS))
    (tmp_path / "city-password").write_text(city.logins["faults"])
    (tmp_path / "city-password").chmod(0o600)
    panels, _, service = scene(6, names=(), more=CITY.replace("NAME", NAME).replace("PORT", str(city.mqtt)).replace("CA", str(city.ca)))
    service.around = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
    service.start()
    residents = Residents(panels, lambda: service.alive_since, hold=1.5, rest=1.0).start()
    wait_until(lambda: len(office.accepted()) > 5, 60, "letters come")
    wait_until(city.is_whole, 60, "all three are there, in everything", every=0.5)
    city.nodes[victim].kill()
    killed, known = time.monotonic(), len(office.accepted())
    wait_until(lambda: len(office.accepted()) > known + 5, 2 * A_MINUTE, "letters come again")
    score.recovered(time.monotonic() - killed, 2 * A_MINUTE)
    city.nodes[victim].start()
    known = len(office.accepted())
    wait_until(lambda: len(office.accepted()) > known + 5, A_MINUTE, "letters come while the node comes back")
    residents.go_home()
    wait_until(lambda: waiting(service.folder / "store") == 0, 2 * A_MINUTE, "every letter has its receipt")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {"office": office}, panels).holds(doubled=2 * 8)
