"""Operators' lists over several nodes whose leases are in DynamoDB and whose transcripts are in S3."""

import uuid

import pytest
import requests

import aws_faults
from contract import document, operation
from fleet import check_quiet, hansard, wait_for_state
from listen import LINEAR16, ListenSession
from operators import Operator
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)
ROLES, SCOPES = (document()["components"]["schemas"][name]["enum"] for name in ("Role", "Scope"))
SESSIONS, TRANSCRIPTS, NODES = "/v1/admin/sessions", "/v1/admin/transcripts", "/v1/admin/nodes"


@pytest.fixture
def owner(fleet, table, bucket) -> Operator:
    """Of two nodes, with a token from the command line."""
    made = hansard("admin", "token", "--name", "a test", **fleet.settings)
    assert made.returncode == 0, made.stderr
    for name in ("one", "two"):
        fleet.start(name)
    return Operator(fleet.nodes[0], made.stdout.strip())


def checked(owner: Operator, name: str, path: str, status: int = 200) -> requests.Response:
    answer = owner.call("GET", path)
    assert answer.status_code == status, answer.text
    operation(name).check(answer)
    return answer


def test_sessions_of_all_nodes_are_one_list(fleet, table, owner):
    sessions = [ListenSession(node, LINEAR16) for node in (*fleet.nodes, fleet.nodes[1])]
    ids = sorted((one.request_id for one in sessions), reverse=True)

    def listed(query: str) -> list[str]:
        return [one["id"] for one in checked(owner, "listAllSessions", f"{SESSIONS}?{query}").json()["data"]]

    wait_until(lambda: listed("status=live") == ids, 30, "all are live")
    assert listed(f"status=live&tenant_id={fleet.tenant}") == ids
    for node, count in (("one", 1), ("two", 2)):
        use = checked(owner, "getNode", f"{NODES}/{node}").json()
        assert use["sessions"] == count and use["tenants"] == [{"tenant_id": fleet.tenant, "sessions": count}]
    assert {one["name"]: one["sessions"] for one in checked(owner, "listNodes", NODES).json()["data"]} == {"one": 1, "two": 2}
    for session in ids:
        assert checked(owner, "getAnySession", f"{SESSIONS}/{session}").json()["state"] == "active"
    for session in sessions:
        session.send(bytes(64_000))
        session.finish()
    check_quiet(fleet, table)
    wait_until(lambda: listed("status=completed") == ids, 30, "all are past")
    assert listed("status=live") == [] and listed("") == ids
    # The table forgets in time, the list does not.
    for session in ids:
        table.client.delete_item(
            TableName=table.name, Key={"pk": {"S": f"S#{session}"}, "sk": {"S": "STATUS"}}
        )
        one = checked(owner, "getAnySession", f"{SESSIONS}/{session}").json()
        assert (one["state"], one["audio_ms"], one["engine"]) == ("completed", 2000, "synthetic")


def test_an_address_of_a_transcript_needs_no_token(fleet, table, owner, bucket):
    with ListenSession(fleet.nodes[1], LINEAR16) as session:
        session.send(bytes(64_000))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed")
    path = f"{TRANSCRIPTS}/{session.request_id}"
    (entry,) = checked(owner, "listTenantTranscripts", f"{TRANSCRIPTS}?tenant_id={fleet.tenant}").json()["data"]
    assert entry["url"] == path
    document = checked(owner, "getTenantTranscript", path).json()
    address = checked(owner, "downloadTenantTranscript", f"{path}/download?valid_seconds=60").json()["url"]
    with requests.Session() as anyone:
        anyone.trust_env = False
        assert anyone.get(address, timeout=20).json() == document
    actions = owner.call("GET", f"/v1/admin/audit?tenant_id={fleet.tenant}").json()["data"]
    assert [one["action"] for one in actions[:2]] == ["transcript.download", "transcript.read"]
    assert owner.call("DELETE", path).status_code == 204
    assert bucket.transcript(session.request_id) is None
    checked(owner, "getTenantTranscript", path, 404)


def test_an_address_is_for_those_who_may_have_it(fleet, table, owner, bucket):
    """The one thing that test_roles.py cannot see succeed, since only a bucket has addresses."""
    tenant = owner.tenant()
    keys = {scope: owner.key(tenant, scopes=[scope])["key"] for scope in SCOPES}
    with ListenSession(fleet.nodes[0], LINEAR16, key=keys["listen"]) as session:
        session.send(bytes(64_000))
        session.finish()
    wait_until(lambda: bucket.key_of(session.request_id), 20, "its transcript is stored")
    callers = [(operation("downloadTenantTranscript"), role, owner.with_role(role)) for role in ROLES]
    callers += [(operation("downloadTranscript"), scope, Operator(owner.server, key)) for scope, key in keys.items()]
    for one, name, caller in callers:
        answer = caller.perform(one, session_id=session.request_id)
        one.check(answer)
        assert answer.status_code == (200 if name in (one.roles or one.scopes) else 403), f"{one.id}: {name}"


def test_what_the_bucket_does_not_do_is_on_record(fleet, table, owner, bucket, s3_proxy):
    with ListenSession(fleet.nodes[0], LINEAR16) as session:
        session.send(bytes(64_000))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed")
    path = f"{TRANSCRIPTS}/{session.request_id}"

    def log() -> list[str]:
        entries = owner.call("GET", f"/v1/admin/audit?tenant_id={fleet.tenant}&action=transcript.delete").json()["data"]
        return [one["outcome"] for one in reversed(entries)]

    s3_proxy.go_away()
    answer = owner.call("DELETE", path)
    operation("deleteTenantTranscript").check(answer)
    assert answer.status_code == 503 and log() == [], "nothing is said of what was not begun"
    s3_proxy.come_back()
    name = str(uuid.uuid4())
    s3_proxy.fault(aws_faults.error(503, "SlowDown"), aws_faults.operation("DeleteObject"))
    answer = owner.call("DELETE", path, Idempotency_Key=name)
    assert answer.status_code == 503 and log() == ["done", "failed"], "it may be gone, and was not for certain"
    s3_proxy.clear()
    for _ in range(2):
        assert owner.call("DELETE", path, Idempotency_Key=name).status_code == 204
    assert log() == ["done", "failed", "done"] and bucket.transcript(session.request_id) is None
    # With the bucket there, which has what the chain is compared with.
    assert owner.call("GET", f"/v1/admin/audit/verify?tenant_id={fleet.tenant}").json()["is_intact"]
