"""The JSON API as its callers use it: a token of each role, and what they are told."""
import re
import sqlite3

import httpx

from support.waiting import wait_until

ROLES = ["viewer", "inspector", "operator", "admin"]


class Api:
    def __init__(self, gatehouse):
        text = gatehouse.config.read_text()
        self.gatehouse, self.tokens = gatehouse, {}
        self.port = int(re.search(r'\[console\].*?listen = "127\.0\.0\.1:(\d+)"', text, re.S).group(1))
        self.url = f"http://127.0.0.1:{self.port}"
        for role in ROLES:
            self.tokens[role] = self.add(f"{role}-1", role)
        wait_until(lambda: self.answers(), 5, "the port opens once there is a token")

    def add(self, name, role):
        return self.gatehouse.cli("token", "add", name, "--role", role).stdout.strip()

    def answers(self):
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200 and self(ROLES[-1], "GET", "/site").status_code == 200  # the token that was added last
        except httpx.TransportError:
            return False

    def __call__(self, role, method, path, **more):
        token = self.tokens.get(role, role)
        headers = {**({"authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        path = path if path.startswith("/api") or path == "/healthz" else f"/api/v1{path}"
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=35, **more)

    def get(self, path, role="viewer", **query):
        answer = self(role, "GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path, said, role="inspector"):
        answer = self(role, "POST", path, json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, status, role, method, path, **more):
        """The problem, whose members are those of RFC 9457, with both languages."""
        answer = self(role, method, path, **more)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status and problem["type"].startswith("urn:gatehouse:problem:") and problem["title"]
        for told in (problem["text"], problem["todo"]):
            assert told["en"] and re.search("[一-鿿]", told["zh"]), told
        return problem | {"headers": answer.headers}


def told(receiver, alarm):
    bodies = {r.id: r.json for r in receiver.accepted()}.values()
    return [(b["type"].removeprefix("gatehouse.alarm."), b["data"]["alarm"]) for b in bodies if b["data"].get("alarm", {}).get("name") == alarm]


def words(receiver, alarm):
    return [word for word, _ in told(receiver, alarm)]


def standing(api, alarm):
    rows = [row for row in api.get("/alarms")["alarms"] if row["alarm"] == alarm]
    return rows[0] if rows else None


def audit(folder, action):
    with sqlite3.connect(folder / "store" / "events.db") as events:
        return events.execute("SELECT who, origin, object, outcome FROM audit WHERE action = ? ORDER BY number", (action,)).fetchall()
