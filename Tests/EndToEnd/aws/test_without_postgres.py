"""Postgres stops under load while DynamoDB counts and S3 keeps: nobody who speaks or wants to notices.

Operators do: they are told to come again. What they change afterwards arrives as ever.
"""

import contextlib
import threading
import time
from collections import Counter

import pytest

from contract import operation, operations
from fleet import check_quiet, wait_until_known, wait_until_reachable
from listen import ListenSession, handshake, token
from operators import Operator
from postgres_proxy import swallow
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

STREAMS = 20
PIECE = bytes(3_200)
# Which nodes and live sessions are there is in DynamoDB.
WITHOUT_POSTGRES = {"listNodes": 200, "getNode": 200, "getTenantSession": 200, "getAnySession": 200}


class Load:
    """Streams that speak all the time, at real-time pace, and others that come, say half a second and go."""

    def __init__(self, nodes: list, key: str):
        self.nodes, self.key = nodes, key
        self.streams = [ListenSession(nodes[n % len(nodes)], key=key) for n in range(STREAMS)]
        # How each that came was answered, and which sessions they were.
        self.outcomes: Counter = Counter()
        self.sessions: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._speak, args=(stream,), daemon=True) for stream in self.streams]
        self._threads += [threading.Thread(target=self._come, args=(node,), daemon=True) for node in nodes]
        for thread in self._threads:
            thread.start()

    def _speak(self, stream: ListenSession) -> None:
        # Who is closed is found closed.
        with contextlib.suppress(Exception):
            while not self._over.is_set():
                stream.send(PIECE, pace=1)

    def _come(self, node) -> None:
        while not self._over.is_set():
            try:
                with ListenSession(node, key=self.key) as session:
                    session.send(PIECE * 5)
                    session.close_stream()
                    self.outcomes[session.wait_closed()] += 1
                    self.sessions.append(session.request_id)
            except Exception as failure:
                self.outcomes[repr(failure)] += 1
            self._over.wait(0.1)

    def is_whole(self) -> bool:
        return all(stream.close()[0] is None for stream in self.streams) and set(self.outcomes) == {(1000, "")}

    def end(self) -> None:
        """In good order."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        for stream in self.streams:
            stream.finish()

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for stream in self.streams:
            stream.__exit__()


def check_operators_are_put_off(operator: Operator, **names: str) -> None:
    """Every route of the document: 503 and when to come again, not 500, and not a change that is half done."""
    for one in operations():
        if one.roles is None:
            continue
        body = {"name": "while it is away"} if one.id == "createTenant" else one.request_examples()[0]
        answer = operator.perform(one, body, **names)
        one.check(answer)
        assert answer.status_code == WITHOUT_POSTGRES.get(one.id, 503), f"{one.id}: {answer.text}"
        assert answer.status_code != 503 or int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("seconds", [15, pytest.param(300, marks=pytest.mark.long)])
def test_postgres_stops_under_load(fleet, founding, table, bucket, seconds):
    secret = fleet.admin_token()
    nodes = [fleet.start(name) for name in ("one", "two")]
    operator = Operator(nodes[0], secret)
    tenant = operator.tenant()
    assert operator.perform(
        operation("setQuotas"), {"max_concurrent_sessions": 100, "max_minutes_per_month": 10_000}, tenant_id=tenant
    ).status_code == 200
    key = operator.key(tenant)
    wait_until_known(key["key"], nodes)
    with Load(nodes, key["key"]) as load:
        wait_until(lambda: load.outcomes, 30, "the load has begun")
        before = load.outcomes.total()
        founding.cluster.stop()
        try:
            stay_without_postgres(load, operator, seconds, tenant_id=tenant, key_id=key["id"])
            meanwhile = load.outcomes.total() - before
        finally:
            founding.cluster.start()
        newer = end_with_postgres_back(load, operator, tenant, 30)
    print(f"{seconds} s without Postgres: {STREAMS} streams went on, {meanwhile} sessions came; in all {load.outcomes}")
    assert meanwhile > 0 and set(load.outcomes) == {(1000, "")}
    with ListenSession(nodes[1], key=key["key"]) as session:
        session.send(PIECE)
        assert operator.perform(operation("revokeKey"), tenant_id=tenant, key_id=key["id"]).ok
        assert session.wait_closed(10) == (1008, "key revoked")
    assert [handshake(node, headers=token(newer)).status for node in nodes] == [101, 101]
    check_books(fleet, nodes, load)
    verified = operator.call("GET", f"/v1/admin/audit/verify?tenant_id={tenant}").json()
    assert verified["is_intact"] and verified["entries"] == 5, verified
    assert operator.call("GET", "/v1/admin/tenants?name=while%20it%20is%20away").json()["data"] == []
    check_quiet(fleet, table)


@pytest.mark.long
def test_postgres_is_silent_under_load(fleet, founding, table, bucket, postgres_proxy):
    """Connections are made and nothing is answered, as by a network that loses everything: nobody waits for it but
    operators, and they are told to come again."""
    secret = fleet.admin_token()
    nodes = [fleet.start(name) for name in ("one", "two")]
    operator = Operator(nodes[0], secret)
    tenant = operator.tenant()
    key = operator.key(tenant)
    wait_until_known(key["key"], nodes)
    with Load(nodes, key["key"]) as load:
        wait_until(lambda: load.outcomes, 30, "the load has begun")
        before = load.outcomes.total()
        postgres_proxy.fault(swallow, lambda data: True)
        began = time.monotonic()
        while time.monotonic() - began < 60:
            asked = time.monotonic()
            for name in ("getTenant", "createKey"):
                answer = operator.perform(operation(name), {"name": "never"}, tenant_id=tenant)
                assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1, answer.text
            check_served(load)
            print(f"put off after {time.monotonic() - asked:.1f} s")
        meanwhile = load.outcomes.total() - before
        postgres_proxy.clear()
        end_with_postgres_back(load, operator, tenant, 60)
    print(f"60 s with a silent Postgres: {STREAMS} streams went on, {meanwhile} sessions came; in all {load.outcomes}")
    assert set(load.outcomes) == {(1000, "")}
    check_books(fleet, nodes, load)
    names = [one["name"] for one in operator.call("GET", f"/v1/admin/tenants/{tenant}/keys").json()["data"]]
    assert names.count("a key") == 2 and names.count("never") == 0
    check_quiet(fleet, table)


def check_served(load: Load) -> None:
    for node in load.nodes:
        assert node.get("/readyz").status_code == 200
        for path in ("/v1/transcripts", "/v1/sessions?status=live"):
            assert node.get(path, load.key).status_code == 200
    assert load.is_whole(), load.outcomes


def end_with_postgres_back(load: Load, operator: Operator, tenant: str, seconds: float) -> str:
    """What is changed from now on arrives as ever, on all nodes, and with those that speak; the key that shows it."""
    wait_until(lambda: operator.perform(operation("getTenant"), tenant_id=tenant).ok, seconds, "it is back")
    newer = operator.key(tenant)["key"]
    wait_until_known(newer, load.nodes)
    assert load.is_whole(), load.outcomes
    load.end()
    return newer


def stay_without_postgres(load: Load, operator: Operator, seconds: float, **names: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check_operators_are_put_off(operator, session_id=load.streams[0].request_id, node="two", **names)
        check_served(load)
        time.sleep(1)


def check_books(fleet, nodes: list, load: Load) -> None:
    """Every session's usage is recorded in the end, to the millisecond."""
    for node in nodes:
        wait_until_reachable(node, "usage")
    expected = {stream.request_id: round(1000 * stream.audio_sent) for stream in load.streams}
    expected |= dict.fromkeys(load.sessions, 500)

    def recorded() -> dict[str, int]:
        rows = fleet.database.query("SELECT session_id, audio_ms FROM usage_rows")
        return {session: int(audio) for session, audio in rows}

    wait_until(lambda: expected.keys() <= recorded().keys(), 60, "all usage is recorded")
    found = recorded()
    assert {session: found[session] for session in expected} == expected
