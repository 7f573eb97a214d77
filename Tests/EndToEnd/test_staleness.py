"""How old a node's knowledge of keys may be: HANSARD_KEY_STALENESS_MAX."""

import re

from listen import LINEAR16, ListenSession, handshake, refusal, token
from operators import Operator
from processes import wait_until

REASON = "has not been able to read tenants and keys"


def age(server) -> float:
    return float(re.search(r"^hansard_keys_age_seconds (\S+)$", server.metrics(), re.MULTILINE)[1])


def test_beyond_the_age_nobody_is_recognised_and_sessions_go_on(own_server, cluster):
    server = own_server(
        HANSARD_DATABASE_URL=cluster.url, HANSARD_DATABASE_OWNER_URL=cluster.url, HANSARD_KEY_STALENESS_MAX="5s",
        HANSARD_ADMIT_UNCLAIMED="allow", HANSARD_IDLE_TIMEOUT="5m")
    key, owner = server.key, Operator.owner(server)
    with ListenSession(server, LINEAR16) as session:
        session.send(bytes(32_000) * 30, pace=0)
        wait_until(lambda: session.finals(), 20, "it is heard")
        cluster.stop()
        # Until then keys are good as they were known.
        assert handshake(server, LINEAR16, token(key)).status == 101
        refused = wait_until(
            lambda: (answer := handshake(server, LINEAR16, token(key))).status == 503 and answer, 60, "it is refused")
        assert REASON in refusal(refused, 503)["err_msg"] and "for 5s" in refused.json()["err_msg"]
        assert age(server) > 5
        for answer in (server.get("/v1/transcripts", key), owner.call("GET", "/v1/admin/tenants")):
            assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
            assert REASON in answer.json()["detail"]
        assert server.get("/readyz").json()["checks"]["keys"] == "too old"
        before = len(session.finals())
        session.send(bytes(32_000) * 30, pace=0)
        wait_until(lambda: len(session.finals()) > before, 20, "it goes on")
        cluster.start()
        wait_until(lambda: handshake(server, LINEAR16, token(key)).status == 101, 60, "keys are good again")
        assert server.get("/v1/transcripts", key).status_code == 200
        session.finish()


def test_without_a_limit_they_are_good_for_as_long_as_it_takes(own_server, cluster):
    server = own_server(
        HANSARD_DATABASE_URL=cluster.url, HANSARD_DATABASE_OWNER_URL=cluster.url, HANSARD_ADMIT_UNCLAIMED="allow")
    key = server.key
    cluster.stop()
    wait_until(lambda: age(server) > 6, 60, "the knowledge is old")
    assert handshake(server, LINEAR16, token(key)).status == 101
    assert server.get("/v1/transcripts", key).status_code == 200
    cluster.start()
