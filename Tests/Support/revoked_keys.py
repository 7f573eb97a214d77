"""How long a revoked key's sockets stay open, on nodes that are told and on one that has to look."""

import random
import statistics
import time
from pathlib import Path

from fleet import Fleet, Node
from listen import ListenSession, handshake, live, token
from operators import Operator
from postgres_proxy import FaultyPostgres, deafen, holding, pass_on

SOCKETS = 4
REVOKED = (1008, "key revoked")


class ProxiedNodes:
    """Starts nodes that reach Postgres by a proxy of their own, which counts how often they look for changes."""

    def __init__(self, fleet: Fleet, postgres: Path):
        self._fleet = fleet
        self._postgres = postgres
        self._proxies: list[FaultyPostgres] = []

    def start(self, name: str, hears: bool = True) -> tuple[Node, FaultyPostgres]:
        proxy = FaultyPostgres(self._postgres)
        self._proxies.append(proxy)
        if not hears:
            proxy.fault(deafen, holding("LISTEN "))
        node = self._fleet.start(name, HANSARD_DATABASE_URL=self._fleet.database_through(proxy.port))
        assert hears or proxy.hits == 1, "it listens where nobody speaks"
        proxy.fault(pass_on, holding("access_position()"))
        return node, proxy

    def __enter__(self) -> "ProxiedNodes":
        return self

    def __exit__(self, *_) -> None:
        for node in self._fleet.nodes:
            node.clean_up()
        for proxy in self._proxies:
            proxy.__exit__()


class Figures:
    """Milliseconds from a call to the closing of each socket, by node."""

    def __init__(self, nodes: list[str]):
        self.of = {name: [] for name in nodes}

    def add(self, name: str, since: float, sessions: list[ListenSession]) -> None:
        self.of[name] += [1000 * (session.closed_at - since) for session in sessions]

    def percentile(self, name: str, percent: int) -> float:
        return statistics.quantiles(self.of[name], n=100, method="inclusive")[percent - 1]

    def show(self, what: str) -> None:
        for name, times in self.of.items():
            figures = f"p50 {self.percentile(name, 50):.0f}, p99 {self.percentile(name, 99):.0f}, max {max(times):.0f} ms"
            print(f"{what}, {name}: {len(times)} sockets, {figures}")


def revoke(operator: Operator, tenant: str, nodes: list, keys: list[dict], pause: float) -> Figures:
    """One round for each key: live sockets on every node, all of which end with it."""
    figures = Figures([node.settings["HANSARD_NODE"] for node in nodes])
    for key in keys:
        sessions = {node: live([node] * SOCKETS, key["key"]) for node in nodes}
        time.sleep(random.uniform(0, pause))
        began = time.monotonic()
        assert operator.call("POST", f"/v1/admin/tenants/{tenant}/keys/{key['id']}/revoke").status_code == 200
        for node, mine in sessions.items():
            assert [session.wait_closed(10) for session in mine] == [REVOKED] * SOCKETS
            figures.add(node.settings["HANSARD_NODE"], began, mine)
        for node in nodes:
            assert handshake(node, headers=token(key["key"])).status == 401
    return figures
