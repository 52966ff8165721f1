"""The truth ledger: what a peer really held, and when. Stories compare the gateway's readings with it.

In memory, and as JSON lines when a path is given: {"ns": wall clock, "unit", "table", "address", "value"} or any other fact.
"""
import json
import threading
import time


class Ledger:
    def __init__(self, path=None):
        self.facts = []
        self._file = open(path, "a", buffering=1) if path else None
        self._lock = threading.Lock()

    def write(self, **fact):
        """Note one fact, now. Returns it."""
        return self.write_all([fact])[0]

    def write_all(self, facts):
        """Note facts that became true together: they share one time."""
        with self._lock:
            ns = time.time_ns()
            facts = [{"ns": ns, **fact} for fact in facts]
            self.facts += facts
            if self._file:
                self._file.writelines(json.dumps(fact) + "\n" for fact in facts)
            return facts

    def hold(self, unit, table, address, values):
        """Registers from `address` on now hold `values`."""
        self.write_all([dict(unit=unit, table=table, address=address + i, value=v) for i, v in enumerate(values)])

    def spans(self, unit, table, address, count=1):
        """[(words, from_ns, to_ns)]: everything that `count` registers from `address` held; the last span is still open."""
        wanted = range(address, address + count)
        words, spans = [None] * count, []
        with self._lock:
            facts = list(self.facts)
        for fact in facts:
            if (fact.get("unit"), fact.get("table")) != (unit, table) or fact.get("address") not in wanted:
                continue
            words[fact["address"] - address] = fact["value"]
            if spans and spans[-1][1] == fact["ns"]:
                spans.pop()  # written together with the word before: the half-written state was never held
            elif spans:
                spans[-1] = (spans[-1][0], spans[-1][1], fact["ns"])
            spans.append((tuple(words), fact["ns"], float("inf")))
        return [span for span in spans if None not in span[0]]

    def held(self, unit, table, address, at_ns, slack_ns, count=1):
        """The words that were held at some time within `slack_ns` of `at_ns`."""
        spans = self.spans(unit, table, address, count)
        return {words for words, since, until in spans if since <= at_ns + slack_ns and until >= at_ns - slack_ns}

    def ever(self, unit, table, address, count=1):
        return {words for words, _, _ in self.spans(unit, table, address, count)}

    def about(self, **match):
        """All facts with these values."""
        with self._lock:
            return [fact for fact in self.facts if all(fact.get(k) == v for k, v in match.items())]
