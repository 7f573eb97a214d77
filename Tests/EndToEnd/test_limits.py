"""Limits of requests and of handshakes as clients meet them: what they are told before, and when it is too much."""

import contextlib
import re
import threading
import uuid

import pytest

from contract import operation
from engines import SYNTHETIC
from listen import LINEAR16, ListenSession, handshake, refusal, token
from operators import Operator
from processes import wait_until
from server import Server

QUOTA = 20


def standing(answer) -> dict[str, tuple[int, int, int]]:
    """By policy: its quota, what is left of it, and the seconds until all of it is there again."""
    policies = dict(re.findall(r'"([a-z-]+)";q=(\d+);w=60', answer.headers["RateLimit-Policy"]))
    left = {name: (int(r), int(t)) for name, r, t in re.findall(r'"([a-z-]+)";r=(\d+);t=(\d+)', answer.headers["RateLimit"])}
    assert set(policies) == set(left)
    return {name: (int(quota), *left[name]) for name, quota in policies.items()}


@pytest.fixture
def limited_server(own_server):
    return own_server(
        HANSARD_REQUESTS_PER_ADDRESS="1000", HANSARD_REQUESTS_PER_KEY=str(QUOTA), HANSARD_REQUESTS_PER_TOKEN=str(QUOTA))


def check_use_up(call, policy: str) -> None:
    """Calls until it is too much."""
    answers = [call() for _ in range(QUOTA + 5)]
    assert [answer.status_code for answer in answers[:QUOTA]] == [200] * QUOTA
    # A moment's room may have come back meanwhile.
    refused = [answer for answer in answers[QUOTA:] if answer.status_code == 429]
    assert refused
    left = [standing(answer)[policy][1] for answer in answers[:QUOTA]]
    assert left == sorted(left, reverse=True) and left[0] == QUOTA - 1 and left[-1] <= 2
    for answer in refused:
        assert standing(answer)[policy][:2] == (QUOTA, 0)
        assert 1 <= int(answer.headers["Retry-After"]) <= 60 // QUOTA + 1
        assert answer.json()["code"] == "limited" and answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_key_and_a_token_have_their_own_limits(limited_server):
    check_use_up(lambda: limited_server.get("/v1/transcripts", limited_server.key), "key")
    owner = Operator.owner(limited_server)
    check_use_up(lambda: owner.call("GET", "/v1/admin/tenants"), "token")
    operation("listTenants").check(owner.call("GET", "/v1/admin/tenants"))
    # Handshakes, and what machines ask of a node, are another matter.
    assert handshake(limited_server, LINEAR16, token(limited_server.key)).status == 101
    assert limited_server.get("/healthz").status_code == 200
    metrics = limited_server.metrics()
    for policy in ("key", "token"):
        assert int(re.search(rf'hansard_requests_limited_total{{policy="{policy}"}} (\d+)', metrics)[1]) >= 1


def test_an_address_has_a_limit_whatever_it_presents(own_server):
    server = own_server(HANSARD_REQUESTS_PER_ADDRESS=str(QUOTA))
    statuses = [server.get(f"/v1/transcripts/{number}", f"junk {number}").status_code for number in range(QUOTA + 5)]
    assert statuses[:QUOTA] == [401] * QUOTA and 429 in statuses[QUOTA:]


def test_nothing_is_done_for_a_call_beyond_the_limit(limited_server):
    owner = Operator.owner(limited_server)
    database = limited_server.database()
    limited = 0
    for _ in range(QUOTA + 10):
        answer = owner.call("POST", "/v1/admin/tenants", {"name": "counted"}, Idempotency_Key=str(uuid.uuid4()))
        limited += answer.status_code == 429
    made = int(database.query("SELECT count(*) FROM tenants WHERE name = 'counted'")[0][0])
    logged = int(database.query("SELECT count(*) FROM audit_log WHERE action = 'tenant.create'")[0][0])
    assert limited >= 1 and made == QUOTA + 10 - limited
    assert logged == made


def test_junk_is_counted_by_its_kind_alone(own_server):
    server = own_server()
    admin = Operator.owner(server)
    tenant = admin.tenant()
    revoked, disabled = admin.key(tenant), admin.key(tenant)
    assert admin.call("POST", f"/v1/admin/tenants/{tenant}/keys/{revoked['id']}/revoke").status_code == 200
    assert admin.call("POST", f"/v1/admin/tenants/{tenant}/keys/{disabled['id']}/disable").status_code == 200

    def counts() -> dict[str, int]:
        found = re.findall(r'hansard_credentials_refused_total{kind="(\w+)"} (\d+)', server.metrics())
        return {kind: int(count) for kind, count in found}

    before = counts()
    assert set(before) == {"missing", "malformed", "unknown", "disabled", "revoked", "expired"}
    malformed = "hsk_live_" + "A" * 49
    for secret in (malformed, revoked["key"], disabled["key"]):
        refusal(handshake(server, LINEAR16, token(secret)), 401)
        assert server.get("/v1/transcripts", secret).status_code == 401
    assert server.get("/v1/transcripts").status_code == 401
    assert Operator(server, malformed).call("GET", "/v1/admin/tenants").status_code == 401
    gained = {kind: count - before[kind] for kind, count in counts().items()}
    assert gained == {"missing": 1, "malformed": 3, "unknown": 0, "disabled": 2, "revoked": 2, "expired": 0}
    shown = server.metrics() + server.log()
    assert all(secret not in shown for secret in (malformed, revoked["key"], disabled["key"]))


def test_addresses_mapped_into_ipv6_are_ipv4():
    """Whoever comes by IPv4 to a socket of IPv6 has such an address there."""
    server = Server(HANSARD_ENGINE=SYNTHETIC)
    server.settings["HANSARD_LISTEN"] = f"[::]:{server.port}"
    with server:
        admin = Operator.owner(server)
        tenant = admin.tenant()
        for ranges, accepted in (
            (["127.0.0.0/8"], True), (["::ffff:127.0.0.0/104"], True), (["::ffff:7f00:1"], True), (["::1", "::ffff:0:0/96"], True),
            (["::ffff:10.0.0.0/104"], False), (["10.0.0.0/8", "::/0"], False),
        ):
            key = admin.key(tenant, allowed_cidrs=ranges)["key"]
            assert handshake(server, LINEAR16, token(key)).status == (101 if accepted else 403), ranges
            assert server.get("/v1/transcripts", key).status_code == (200 if accepted else 403), ranges
        for wrong in ("::ffff:127.0.0.0/8", "::ffff:127.0.0.0/129", "127.0.0.0/104"):
            answer = admin.call("POST", f"/v1/admin/tenants/{tenant}/keys", {"name": "x", "allowed_cidrs": [wrong]})
            assert answer.status_code == 400 and answer.json()["errors"][0]["pointer"] == "/allowed_cidrs/0"


# Handshakes


@pytest.fixture(scope="module")
def admin(engine_servers):
    return Operator.owner(engine_servers[SYNTHETIC])


def refused_by(admin, quotas: dict, hold: int):
    """The refusal of a handshake while so many sessions are held; a claim that is refused makes the node know."""
    tenant = admin.tenant()
    assert admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", quotas).status_code == 200
    key = admin.key(tenant)["key"]
    with contextlib.ExitStack() as held:
        for _ in range(hold):
            session = held.enter_context(ListenSession(admin.server, LINEAR16, key=key))
            session.send(bytes(3200))
            wait_until(lambda: len(admin.server.database().leases(tenant)) >= 1, 10, "it holds a slot")

        def refused():
            answers = []
            threads = [
                threading.Thread(target=lambda: answers.append(handshake(admin.server, LINEAR16, token(key))))
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return next((answer for answer in answers if answer.status == 429), None)

        return wait_until(refused, 20, "a handshake is refused")


def test_a_handshake_beyond_the_sessions_at_once_says_so(admin):
    answer = refused_by(admin, {"max_concurrent_sessions": 1}, hold=1)
    assert refusal(answer, 429)["err_msg"] == "quota: 1 concurrent sessions"
    assert answer.headers["ratelimit-policy"] == '"concurrency";q=1;qu="concurrent-requests"'
    assert answer.headers["ratelimit"] == '"concurrency";r=0'
    assert answer.headers["retry-after"] == "1"


def test_a_handshake_beyond_the_new_sessions_says_when_to_come(admin):
    answer = refused_by(admin, {"max_new_sessions_per_minute": 1}, hold=1)
    assert refusal(answer, 429)["err_msg"] == "quota: 1 new sessions per minute"
    assert answer.headers["ratelimit-policy"] == '"new-sessions";q=1;w=60'
    seconds = re.fullmatch(r'"new-sessions";r=0;t=(\d+)', answer.headers["ratelimit"])[1]
    assert answer.headers["retry-after"] == seconds and 1 <= int(seconds) <= 60
