"""Nodes among each other: who is cut off, who dies at a bad moment, and what hands leave in the table."""

import contextlib
import time
import uuid

import pytest
from websockets.exceptions import ConnectionClosed

import aws_faults
import speech
from fleet import check_quiet, is_reachable, said, wait_for_state
from listen import LINEAR16, ListenSession
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

INTERIM = LINEAR16 | {"interim_results": "true"}
# Peers wait for 8 s; see docs/architecture.md.
PEERS_WAIT = 8
REAPED_SECONDS = 15
# The audit looks every 30 s.
AUDIT_SECONDS = 30


def speaking(node) -> ListenSession:
    session = ListenSession(node, INTERIM)
    session.send(speech.pcm("goforward.wav"))
    session.wait_for(lambda message: message["type"] == "Results")
    return session


def is_admitted(node) -> bool:
    with ListenSession(node) as session:
        # Who is refused may be so before the audio is sent.
        with contextlib.suppress(ConnectionClosed):
            session.send(bytes(3_200))
            session.close_stream()
        return session.wait_closed()[0] == 1000


def lease(table, tenant: str, epoch: str) -> dict:
    """A lease that nobody made."""
    times = {"claimed_at": {"S": "2026-01-01T10:00:00.000Z"}, "used_ms": {"N": "0"}}
    names = {name: {"S": str(uuid.uuid4())} for name in ("nonce", "connection_id")}
    words = {name: {"S": "x"} for name in ("address", "region", "key_id")}
    key = {"pk": {"S": f"T#{tenant}"}, "sk": {"S": f"L#{uuid.uuid4()}"}}
    return key | {"node_epoch": {"S": epoch}} | names | words | times


def set_count(table, tenant: str, count: int) -> None:
    table.client.update_item(
        TableName=table.name,
        Key={"pk": {"S": f"T#{tenant}"}, "sk": {"S": "CONC"}},
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": str(count)}},
    )


@pytest.mark.parametrize("policy", ["close", "keep"])
def test_a_node_that_is_cut_off(fleet, table, bucket, aws, faulty, policy):
    """With `close` its session is over before its slot can be another's; with `keep` it goes on."""
    fleet.limit_sessions(1)
    line = faulty(aws)
    alone = fleet.start("alone", AWS_ENDPOINT_URL_DYNAMODB=line.url, HANSARD_ON_LEASE_LOST=policy)
    other = fleet.start("other")
    session = speaking(alone)
    line.go_away()
    away = time.monotonic()
    if policy == "close":
        assert session.wait_closed() == (1013, "try again later")
        assert time.monotonic() - away < PEERS_WAIT + 4, "what it still stores and says takes its time"
    while table.counter(fleet.tenant):
        assert time.monotonic() - away < REAPED_SECONDS + 5
        if policy == "keep":
            session.keep_alive()
        time.sleep(0.2)
    with speaking(other) as successor:
        assert (session.close()[0] is None) == (policy == "keep")
        line.come_back()
        successor.finish()
    if policy == "keep":
        session.finish()
    session.__exit__()
    ended = "completed" if policy == "keep" else "interrupted"
    wait_for_state(fleet, table, session.request_id, ended, 60)
    check_quiet(fleet, table)


def test_a_node_that_dies_after_its_transcript_is_stored(fleet, table, bucket, aws, faulty):
    line = faulty(aws)
    fleet.start("peer")
    doomed = fleet.start("doomed", AWS_ENDPOINT_URL_DYNAMODB=line.url)
    session = speaking(doomed)
    line.fault(aws_faults.lose_request, aws_faults.operation("TransactWriteItems"))
    session.close_stream()
    wait_until(lambda: bucket.key_of(session.request_id), 20, "the transcript is stored")
    doomed.kill_at_once()
    wait_for_state(fleet, table, session.request_id, "completed", 30)
    status = table.status(session.request_id)
    assert status["transcript_location"].endswith(bucket.key_of(session.request_id))
    assert status["finals"] == len(bucket.transcript(session.request_id)["results"]) > 0
    session.__exit__()
    check_quiet(fleet, table)


def test_a_dead_node_is_found_in_a_slow_store(fleet, table, bucket, dynamodb_proxy):
    """Every fifth look times out once."""
    fleet.start("peer")
    doomed = fleet.start("doomed")
    session = speaking(doomed)
    looks = 0

    def fifth(request) -> bool:
        nonlocal looks
        looks += request.operation == "Query"
        return request.operation == "Query" and looks % 5 == 0

    dynamodb_proxy.fault(aws_faults.slow_reply(2.5), fifth)
    doomed.kill_at_once()
    wait_until(lambda: table.counter(fleet.tenant) == 0, 30, "its slot is free")
    session.__exit__()


def test_items_that_cannot_be_read(fleet, table, bucket):
    """They are said, and stop neither admission nor the reaping of others."""
    fleet.limit_sessions(3)
    node, doomed = fleet.start("one"), fleet.start("doomed")
    session = speaking(doomed)
    epoch = table.lease(fleet.tenant, session.request_id)["node_epoch"]
    damaged = lease(table, fleet.tenant, str(epoch))
    del damaged["address"]
    for item in (
        damaged,
        {"pk": {"S": "NODES"}, "sk": {"S": "no epoch"}, "rvn": {"S": str(uuid.uuid4())}},
        {"pk": {"S": "NODES"}, "sk": {"S": f"future#{uuid.uuid4()}"}, "rvn": {"S": "no uuid"}},
    ):
        table.client.put_item(TableName=table.name, Item=item)
    set_count(table, fleet.tenant, 2)
    doomed.kill_at_once()
    # Two of three nodes are silent: nobody is given up before the longer patience.
    wait_until(lambda: table.counter(fleet.tenant) == 0, 45, "its slots are free")
    assert is_reachable(node, "connections") and node.get("/readyz").status_code == 200
    assert is_admitted(node)
    assert len(said(node, "an item of the connection store cannot be read")) == 3
    assert "hansard_unreadable_items_total 3" in node.metrics()
    session.__exit__()


def test_a_counter_that_shuts_its_tenant_out(fleet, table, bucket):
    """Nobody has a lease that would lead an audit there; being refused does."""
    fleet.limit_sessions(1)
    node = fleet.start("one")
    assert is_admitted(node)
    wait_until(lambda: table.counter(fleet.tenant) == 0, 10, "the slot is free")
    set_count(table, fleet.tenant, 1)
    assert not is_admitted(node)
    wait_until(lambda: table.counter(fleet.tenant) == 0, AUDIT_SECONDS + 15, "it is put right")
    assert is_admitted(node)


@pytest.mark.long
def test_a_lease_of_nobody_that_shuts_its_tenant_out(fleet, table, bucket):
    fleet.limit_sessions(1)
    node = fleet.start("one")
    assert is_admitted(node)
    wait_until(lambda: table.counter(fleet.tenant) == 0, 10, "the slot is free")
    table.client.put_item(
        TableName=table.name, Item=lease(table, fleet.tenant, f"nobody#{uuid.uuid4()}")
    )
    set_count(table, fleet.tenant, 1)
    assert not is_admitted(node)
    wait_until(lambda: table.counter(fleet.tenant) == 0, 2 * AUDIT_SECONDS + 15, "it is given back")
    assert table.leases(fleet.tenant) == [] and is_admitted(node)
