"""What operators take away is gone on every node: by a notification at once, by the poll where none arrives."""

import random
import statistics
import threading
import time

import pytest
from websockets.exceptions import InvalidStatus

from fleet import check_quiet, wait_until_known
from listen import LINEAR16, ListenSession, handshake, token
from operators import Operator
from postgres_proxy import FaultyPostgres, deafen, holding, pass_on
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

SOCKETS = 4
REVOKED, EXPIRED, SUSPENDED = (1008, "key revoked"), (1008, "key expired"), (1008, "tenant suspended")


@pytest.fixture
def proxied(fleet, founding, table, bucket):
    """Starts nodes that reach Postgres by a proxy of their own, which counts how often they look for changes."""
    proxies = []

    def start(name: str, hears: bool = True) -> tuple:
        proxy = FaultyPostgres(founding.cluster.folder)
        proxies.append(proxy)
        if not hears:
            proxy.fault(deafen, holding("LISTEN "))
        node = fleet.start(name, HANSARD_DATABASE_URL=fleet.database_through(proxy.port))
        assert hears or proxy.hits == 1, "it listens where nobody speaks"
        proxy.fault(pass_on, holding("access_position()"))
        return node, proxy

    yield start
    for node in fleet.nodes:
        node.clean_up()
    for proxy in proxies:
        proxy.__exit__()


def live(nodes: list, key: str) -> list[ListenSession]:
    """A session on each, once all have their slots."""
    sessions = [ListenSession(node, LINEAR16 | {"interim_results": "true"}, key=key) for node in nodes]
    for session in sessions:
        session.send(bytes(32_000))
    for session in sessions:
        session.wait_for(lambda message: message["type"] == "Results")
    return sessions


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


def test_a_revoked_key_ends_on_every_node(proxied, fleet):
    """Two nodes are told; the third is not, and finds out when it looks, as it does each second."""
    rounds = 5
    secret = fleet.admin_token()
    (one, _), (two, told), (three, untold) = proxied("one"), proxied("two"), proxied("deaf", hears=False)
    operator = Operator(one, secret)
    tenant = operator.tenant()
    keys = [operator.key(tenant) for _ in range(rounds)]
    wait_until_known(keys[-1]["key"], [one, two, three])
    before = told.hits, untold.hits
    figures = revoke(operator, tenant, [one, two, three], keys, pause=0)
    looks = told.hits - before[0], untold.hits - before[1]
    figures.show("revoked")
    print(f"looked for changes: {looks[0]} times the node that was told, {looks[1]} times the one that was not")
    # Both poll alike; whoever is told looks once more for each key.
    assert looks[0] - looks[1] >= rounds - 2


@pytest.mark.long
def test_a_revoked_key_ends_within_a_second(proxied, fleet):
    rounds = 50
    secret = fleet.admin_token()
    nodes = [proxied("one")[0], proxied("two")[0], proxied("deaf", hears=False)[0]]
    operator = Operator(nodes[0], secret)
    tenant = operator.tenant()
    keys = [operator.key(tenant) for _ in range(rounds)]
    wait_until_known(keys[-1]["key"], nodes)
    figures = revoke(operator, tenant, nodes, keys, pause=1)
    figures.show("revoked")
    assert max(figures.percentile(name, 99) for name in ("one", "two")) < 1_000
    assert max(figures.of["deaf"]) < 3_000


def test_nobody_slips_through_while_a_key_is_revoked(fleet, table, bucket):
    """Some are admitted by what a node knew a moment ago, and open when all others have been closed."""
    secret = fleet.admin_token()
    nodes = [fleet.start(name) for name in ("one", "two", "three")]
    operator = Operator(nodes[0], secret)
    tenant = operator.tenant()
    key = operator.key(tenant)
    wait_until_known(key["key"], nodes)
    opened: list[ListenSession] = []
    refused: list[int] = []

    def come(node) -> None:
        while True:
            try:
                opened.append(ListenSession(node, key=key["key"]))
            except InvalidStatus as refusal:
                refused.append(refusal.response.status_code)
                return

    threads = [threading.Thread(target=come, args=(node,), daemon=True) for node in nodes * 2]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(opened) >= 60, 30, "there is a crowd")
    assert operator.call("POST", f"/v1/admin/tenants/{tenant}/keys/{key['id']}/revoke").ok
    for thread in threads:
        thread.join(30)
    assert refused == [401] * len(threads)
    assert {session.wait_closed(20) for session in opened} == {REVOKED}
    print(f"{len(opened)} sockets were opened while the key was revoked, and closed")
    check_quiet(fleet, table)


# Nodes that did not see it happen


def test_a_rotated_key_on_a_node_that_starts_in_the_overlap(fleet, table, bucket):
    secret = fleet.admin_token()
    one = fleet.start("one")
    operator = Operator(one, secret)
    # The longer ones are for a machine that takes its time to start a node.
    for overlap in (3, 12, 60):
        tenant = operator.tenant()
        old = operator.key(tenant)
        rotated = time.monotonic()
        new = operator.made(f"/v1/admin/tenants/{tenant}/keys/{old['id']}/rotate", {"overlap_seconds": overlap})
        cold = fleet.start(f"cold-{overlap}")
        try:
            ending, going_on = (live([one, cold], key["key"]) for key in (old, new))
            if time.monotonic() < rotated + overlap:
                break
        except (InvalidStatus, AssertionError):
            if time.monotonic() < rotated + overlap or overlap == 60:
                raise
    for session in ending:
        assert session.wait_closed(overlap + 30) == EXPIRED
        assert session.closed_at >= rotated + overlap
        print(f"closed {session.closed_at - rotated - overlap:.2f} s after the end of the overlap")
    for session in going_on:
        session.finish()
    # One that starts when all is over knows it as well.
    for node in (one, cold, fleet.start("late")):
        assert [handshake(node, headers=token(key["key"])).status for key in (old, new)] == [401, 101]


def test_a_suspended_tenant_on_a_node_that_starts_then(fleet, table, bucket):
    secret = fleet.admin_token()
    one = fleet.start("one")
    operator = Operator(one, secret)
    tenant = operator.tenant()
    key = operator.key(tenant)["key"]
    path = f"/v1/admin/tenants/{tenant}"
    assert operator.call("POST", f"{path}/suspend").status_code == 200
    cold = fleet.start("cold")
    assert handshake(cold, headers=token(key)).status == 403
    assert operator.call("POST", f"{path}/resume").status_code == 200
    wait_until(lambda: handshake(cold, headers=token(key)).status == 101, 10, "it is admitted again")
    sessions = live([one, cold], key)
    assert operator.call("POST", f"{path}/suspend").status_code == 200
    assert [session.wait_closed(10) for session in sessions] == [SUSPENDED] * 2
    assert operator.call("DELETE", path).status_code == 204
    for node in (one, cold, fleet.start("late")):
        wait_until(lambda: handshake(node, headers=token(key)).status == 401, 10, "a key of nobody")
