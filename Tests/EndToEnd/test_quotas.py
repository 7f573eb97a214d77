"""Quotas while the audio runs: what is granted goes on, and nothing beyond it."""

import contextlib
import time

import pytest
from websockets.exceptions import ConnectionClosed

from engines import SYNTHETIC
from listen import LINEAR16, ListenSession, handshake, live, outcome, refusal, token
from operators import Operator
from processes import wait_until

SECOND = bytes(32_000)


@pytest.fixture(scope="module")
def admin(engine_servers):
    return Operator.owner(engine_servers[SYNTHETIC])


def limited(admin, **quotas) -> tuple[str, str]:
    """A tenant with these quotas, and a key of it."""
    tenant = admin.tenant()
    answer = admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", quotas)
    assert answer.status_code == 200, answer.text
    return tenant, admin.key(tenant)["key"]


class Limited:
    """A key, and limits that its sessions have by its tenant or by itself."""

    def __init__(self, admin, whose: str):
        self.admin, self.whose = admin, whose
        self.tenant = admin.tenant()
        made = admin.key(self.tenant)
        self.key, self.key_id = made["key"], made["id"]

    def limit(self, **quotas) -> None:
        path = f"/v1/admin/tenants/{self.tenant}"
        if self.whose == "tenant":
            answer = self.admin.call("PUT", f"{path}/quotas", quotas)
        else:
            answer = self.admin.call("PATCH", f"{path}/keys/{self.key_id}", {"limits": quotas})
        assert answer.status_code == 200, answer.text

    def listen(self) -> ListenSession:
        """A session that has its slot."""
        return live([self.admin.server], self.key)[0]

    def come(self) -> tuple[int, str]:
        return outcome(self.admin.server, self.key)

    def granted(self) -> int:
        """Milliseconds of the month that nodes have used or hold."""
        owner = f"T#{self.tenant}" if self.whose == "tenant" else f"K#{self.key_id}"
        rows = self.admin.server.database().query(f"SELECT granted_ms FROM minute_quotas WHERE owner = '{owner}'")
        return int(rows[0][0])


@pytest.fixture(params=["tenant", "key"])
def caller(admin, request) -> Limited:
    return Limited(admin, request.param)


def heard(session) -> float:
    """Seconds of audio that its `Metadata` says were admitted."""
    return session.messages("Metadata")[-1]["duration"]


def test_nothing_goes_on_beyond_the_minutes_of_the_month(admin):
    tenant, key = limited(admin, max_minutes_per_month=1)
    with ListenSession(admin.server, LINEAR16 | {"hansard_events": "true"}, key=key) as session:
        session.send(SECOND * 75, pace=0)
        assert session.wait_closed(30) == (1008, "monthly minutes exhausted")
    assert heard(session) == 60
    # All of it at once: the end may come before the word that it is near.
    warned = [message["percent"] for message in session.messages("HansardQuotaWarning")]
    assert warned in ([80, 95], [80], [95]) and session.kinds().count("HansardQuotaExhausted") == 1
    assert session.kinds()[-1] == "Metadata"
    transcript = admin.server.get(f"/v1/transcripts/{session.request_id}", key)
    assert transcript.status_code == 200 and transcript.json()["audio_ms"] == 60_000
    refused = handshake(admin.server, LINEAR16, token(key))
    words = "monthly minutes exhausted: do not retry before the next month, or before the limit is raised"
    assert refusal(refused, 402)["err_msg"] == words
    assert "retry-after" not in refused.headers
    use = admin.call("GET", f"/v1/admin/tenants/{tenant}/quotas").json()["use"]
    assert use["minutes_this_month"] == 1


def test_clients_that_do_not_ask_get_no_events(admin):
    _, key = limited(admin, max_minutes_per_month=1)
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 61, pace=0)
        assert session.wait_closed(30)[0] == 1008
    assert set(session.kinds()) == {"Results", "Metadata"}


def test_sessions_share_what_there_is(admin):
    _, key = limited(admin, max_minutes_per_month=1)
    sessions = [ListenSession(admin.server, LINEAR16, key=key) for _ in range(4)]
    for _ in range(62):
        for session in sessions:
            with contextlib.suppress(ConnectionClosed):
                session.send(SECOND, pace=0)
    assert {session.wait_closed(30) for session in sessions} == {(1008, "monthly minutes exhausted")}
    milliseconds = sum(round(heard(session) * 1000) for session in sessions)
    assert 59_990 <= milliseconds <= 60_000


def test_a_raise_is_felt_by_those_who_come(admin):
    tenant, key = limited(admin, max_minutes_per_month=1)
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 61, pace=0)
        session.wait_closed(30)
    assert handshake(admin.server, LINEAR16, token(key)).status == 402
    admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", {"max_minutes_per_month": 2})
    wait_until(lambda: handshake(admin.server, LINEAR16, token(key)).status == 101, 10, "it is admitted again")


def test_minutes_that_become_limited_count_from_then_on_for_those_who_speak(admin):
    tenant, key = limited(admin)
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 30, pace=0)
        wait_until(lambda: session.finals(), 10, "it is heard")
        assert admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", {"max_minutes_per_month": 1}).status_code == 200
        # A node that was not told looks each second.
        time.sleep(1.5)
        session.send(SECOND * 70, pace=0)
        assert session.wait_closed(30) == (1008, "monthly minutes exhausted")
    assert heard(session) == 90


def test_seconds_of_a_session_may_change_while_it_runs(admin):
    tenant, key = limited(admin, max_seconds_per_session=100)
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 10, pace=0)
        wait_until(lambda: session.finals(), 10, "it is heard")
        assert admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", {"max_seconds_per_session": 12}).status_code == 200
        time.sleep(1.5)
        session.send(SECOND * 5, pace=0)
        assert session.wait_closed(30) == (1008, "quota: 12 seconds per session")
    assert heard(session) == 12


def test_a_soft_quota_goes_on(admin):
    _, key = limited(admin, max_minutes_per_month=1, policy="soft")
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 70, pace=0)
        session.close_stream()
        assert session.wait_closed(30)[0] == 1000
    assert heard(session) == 70


def test_a_keys_own_minutes_count_beside_its_tenants(admin):
    tenant, other = limited(admin, max_minutes_per_month=5)
    key = admin.key(tenant, limits={"max_minutes_per_month": 1})["key"]
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 70, pace=0)
        assert session.wait_closed(30) == (1008, "monthly minutes exhausted")
    assert heard(session) == 60
    assert handshake(admin.server, LINEAR16, token(key)).status == 402
    assert handshake(admin.server, LINEAR16, token(other)).status == 101


def test_a_session_has_no_more_than_its_seconds(admin):
    _, key = limited(admin, max_seconds_per_session=3)
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 5, pace=0)
        assert session.wait_closed(30) == (1008, "quota: 3 seconds per session")
    assert heard(session) == 3
    with ListenSession(admin.server, LINEAR16, key=key) as session:
        session.send(SECOND * 3, pace=0)
        session.close_stream()
        assert session.wait_closed(30)[0] == 1000


def wait_for_time_in_a_minute() -> None:
    """For what must happen within one UTC minute."""
    if time.time() % 60 > 45:
        time.sleep(61 - time.time() % 60)


def test_so_many_sessions_begin_in_a_minute(caller):
    caller.limit(max_new_sessions_per_minute=3)
    wait_for_time_in_a_minute()
    outcomes = [caller.come() for _ in range(6)]
    assert outcomes[:3] == [(1000, "")] * 3
    # Found at the claim; who comes within the next second is told at the handshake.
    assert outcomes[3] == (1008, "quota: 3 new sessions per minute")
    assert {outcome[0] for outcome in outcomes[4:]} <= {429, 1008}
    assert all("new sessions per minute" in outcome[1] for outcome in outcomes[3:])


# Limits that are set below what is used already


def test_fewer_sessions_than_there_are(caller):
    """Who is there stays; who comes is told the new limit until fewer than that are left."""
    caller.limit(max_concurrent_sessions=3)
    running = [caller.listen() for _ in range(3)]
    caller.limit(max_concurrent_sessions=1)
    for left in (3, 2, 1):
        assert caller.come() in ((1008, "quota: 1 concurrent sessions"), (429, "quota: 1 concurrent sessions")), left
        for session in running:
            before = len(session.messages("Results"))
            session.send(SECOND)
            wait_until(lambda: len(session.messages("Results")) > before, 10, "it goes on")
        running.pop().finish()
    # A refusal is remembered for a second.
    wait_until(lambda: caller.come() == (1000, ""), 10, "the next one is admitted")


def test_fewer_minutes_than_were_used(caller):
    """Who speaks ends with what was heard so far: what the node holds for the next minute goes back."""
    caller.limit(max_minutes_per_month=20)
    running = [caller.listen() for _ in range(2)]
    for session in running:
        session.send(SECOND * 69)
        session.finalize()
        session.wait_for(lambda message: message.get("from_finalize"))
    assert caller.granted() > 140_000
    caller.limit(max_minutes_per_month=1)
    wait_until(lambda: caller.granted() == 140_000, 10, "what is not used is back")
    for session in running:
        session.send(SECOND)
    assert [session.wait_closed(30) for session in running] == [(1008, "monthly minutes exhausted")] * 2
    assert [heard(session) for session in running] == [70, 70] and caller.granted() == 140_000
    assert caller.come()[0] == 402
    for session in running:
        assert caller.admin.server.end_of(session.request_id) == "terminated"


def test_no_minutes_at_all(caller):
    caller.limit(max_minutes_per_month=0)
    with ListenSession(caller.admin.server, LINEAR16, key=caller.key) as session:
        with contextlib.suppress(ConnectionClosed):
            session.send(SECOND)
        assert session.wait_closed(30) == (1008, "monthly minutes exhausted")
    assert heard(session) == 0
    assert caller.come()[0] == 402


def test_fewer_seconds_than_a_session_has_had(caller):
    caller.limit(max_seconds_per_session=100)
    with caller.listen() as session:
        session.send(SECOND * 9)
        wait_until(lambda: session.finals(), 10, "it is heard")
        caller.limit(max_seconds_per_session=5)
        # A node looks each second, as it does for each session.
        time.sleep(1.5)
        session.send(SECOND)
        assert session.wait_closed(30) == (1008, "quota: 5 seconds per session")
    assert heard(session) == 10


def test_fewer_new_sessions_in_a_minute_than_have_begun(caller):
    caller.limit(max_new_sessions_per_minute=10)
    wait_for_time_in_a_minute()
    with caller.listen() as running:
        assert [caller.come() for _ in range(2)] == [(1000, "")] * 2
        caller.limit(max_new_sessions_per_minute=2)
        assert caller.come() in ((1008, "quota: 2 new sessions per minute"), (429, "quota: 2 new sessions per minute"))
        # Three have begun, and the one that was refused does not count: with one more allowed there is room for one.
        caller.limit(max_new_sessions_per_minute=4)
        wait_until(lambda: caller.come() == (1000, ""), 10, "one more is admitted")
        assert caller.come() in ((1008, "quota: 4 new sessions per minute"), (429, "quota: 4 new sessions per minute"))
        running.finish()


@pytest.mark.long
def test_what_is_not_used_comes_back(admin):
    """The node's share of another's idle quota is not held for ever: here, for as long as nobody takes from it. It waits
    for half a minute; that it comes back is also proved with an injected clock (MinuteGrantPropertyTests)."""
    caller = Limited(admin, "tenant")
    caller.limit(max_minutes_per_month=10)
    with ListenSession(admin.server, LINEAR16, key=caller.key) as session:
        session.send(SECOND * 2, pace=0)
        session.close_stream()
        assert session.wait_closed(30)[0] == 1000
    assert caller.granted() >= 2_000
    wait_until(lambda: caller.granted() <= 3_000, 60, "all but a second is given back")
    assert caller.granted() >= 2_000
