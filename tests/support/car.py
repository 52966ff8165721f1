"""An elevator by the profile `elevator/story-service`, which says of itself what is wrong; and what receivers were told of it."""
from support.gateway import site_head, tcp_bus

NORMAL, INSPECTION = 0, 2
NOTHING, STUCK, E_BIKE, TRAPPED = 0, 1, 2, 4


class Car:
    def __init__(self, server):
        self.server = server
        self.is_so(NOTHING)

    def is_so(self, flags, mode=NORMAL):
        self.server.set(1, 0, [3, mode, flags])


def endpoint(name, port, data, more="", priorities=("critical", "high"), purpose="safety-inspection", of="elevator"):
    """`more`: keys of `[endpoint.http]`; `of`: the class that it wants."""
    listed = ", ".join(f'"{priority}"' for priority in priorities)
    return f"""
[[endpoint]]
id      = "{name}"
purpose = "{purpose}"
[endpoint.http]
url     = "http://127.0.0.1:{port}/api/alarms"
secret  = {{ file = "inspection-secret" }}
timeout = "2s"
{more}
[endpoint.wants]
classes    = ["{of}"]
priorities = [{listed}]
data       = [{data}]
"""


def two_offices(inspector, other):
    """One may see who did what, the other may not."""
    return [endpoint("safety-inspection", inspector.port, '"operational", "personal"'), endpoint("city", other.port, '"operational"')]


def site(folder, tcp, endpoints, head="", trapped=""):
    """`trapped`: further keys of the rule for an entrapment."""
    rules = "".join(f'\n[[alarm]]\nclass = "elevator"\nname = "{name}"\non_delay = "200ms"\noff_delay = "200ms"\n{more}\n'
                    for name, more in (("stuck_between_floors", ""), ("e_bike", ""), ("passenger_trapped", trapped)))
    return site_head(folder) + head + tcp_bus(tcp) + """
[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-service"
bus     = "lan"
unit    = 1
""" + rules + "".join(endpoints)
