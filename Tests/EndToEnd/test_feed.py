"""The feed by which nodes learn what changed: no change is missed, in whatever order transactions would commit."""

import pytest

from database import Database
from engines import SYNTHETIC
from listen import ListenSession, handshake, token
from operators import Operator
from processes import wait_until

REVOKED = (1008, "key revoked")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
def server(engine_servers):
    return engine_servers[SYNTHETIC]


def revocation(key: dict) -> str:
    """As the admin plane does it, with what it says of the key's past left as it was."""
    return f"UPDATE api_keys SET revoked_at = now(), is_enabled = false, revision = revision + 1 WHERE key_id = '{key['id']}'"


def test_of_two_transactions_that_overlap_no_change_is_missed(server):
    """The one that came first has the lower number and commits last, or would: the other has to wait for it. Else a node
    would read the higher number, and never look for the lower one."""
    operator, database = Operator.owner(server), Database.of(server)
    tenant = operator.tenant()
    early, late, third = (operator.key(tenant) for _ in range(3))
    sessions = {key["id"]: ListenSession(server, key=key["key"]) for key in (early, late, third)}
    first, second = database.transaction(), database.transaction()
    try:
        first.tell(revocation(early))
        wait_until(first.is_idle, 10, "the first has changed its key")
        second.tell(revocation(late))
        second.tell("COMMIT")
        wait_until(lambda: database.query(WAITING) == [["1"]] or second.is_idle(), 10, "the second waits")
        assert not second.is_idle(), "it has committed before the first, whose number is lower"
        # A node that looks meanwhile finds neither.
        for key in (early, late):
            assert handshake(server, headers=token(key["key"])).status == 101
        assert all(session.close()[0] is None for session in sessions.values())
        # What is read does not wait for whoever writes.
        assert operator.call("GET", f"/v1/admin/tenants/{tenant}/keys").ok
        first.tell("COMMIT")
        for key in (early, late):
            assert sessions[key["id"]].wait_closed(20) == REVOKED
            assert handshake(server, headers=token(key["key"])).status == 401
        assert second.is_idle() and sessions[third["id"]].close()[0] is None
        events = database.query(
            "SELECT subject_id FROM access_events WHERE change = 'update' ORDER BY sequence DESC LIMIT 2"
        )
        assert events == [[late["id"]], [early["id"]]]
    finally:
        for transaction in (first, second):
            transaction.close()
        for session in sessions.values():
            session.__exit__()


def test_writers_wait_before_they_hold_anything(server):
    """The number alone would order them. That they wait for it with rows in their hands is what the lock is against: two
    that change the same rows in another order would wait for each other, and Postgres would undo one."""
    operator, database = Operator.owner(server), Database.of(server)
    tenant = operator.tenant()
    one, other = operator.key(tenant), operator.key(tenant)
    first, second = database.transaction(), database.transaction()
    try:
        first.tell(revocation(one))
        wait_until(first.is_idle, 10, "the first has changed a key")
        second.tell(revocation(other))
        wait_until(lambda: database.query(WAITING) == [["1"]], 10, "the second waits")
        first.tell(revocation(other))
        first.tell("COMMIT")
        second.tell("COMMIT")
        wait_until(lambda: first.is_idle() and second.is_idle(), 20, "both are done")
        assert not [line for line in first.said + second.said if "ERROR" in line]
        wait_until(
            lambda: {handshake(server, headers=token(key["key"])).status for key in (one, other)} == {401}, 10, "both hold"
        )
    finally:
        for transaction in (first, second):
            transaction.close()


def test_a_transaction_that_is_undone_leaves_no_gap(server):
    """A node that found one would read everything anew, or wait for what never comes."""
    operator, database = Operator.owner(server), Database.of(server)
    tenant = operator.tenant()
    kept, revoked = operator.key(tenant), operator.key(tenant)
    undone = database.transaction()
    undone.tell(revocation(kept))
    wait_until(undone.is_idle, 10, "it has changed its key")
    undone.close()
    before = int(database.query("SELECT value FROM access_sequence")[0][0])
    assert operator.call("POST", f"/v1/admin/tenants/{tenant}/keys/{revoked['id']}/revoke").ok
    assert database.query("SELECT value FROM access_sequence") == [[str(before + 1)]]
    assert [handshake(server, headers=token(key["key"])).status for key in (kept, revoked)] == [101, 401]
