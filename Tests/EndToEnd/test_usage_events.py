"""Usage as events for a meter elsewhere: each at least once, the same whenever it comes again, and all of them together what the
ledger has."""

import base64
import csv
import io
import json
import secrets
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet import hansard, metric, said
from ledger import ingest, speak
from listen import LINEAR16, ListenSession
from meter import COUNTERS, LOST, Meter, check_event
from operators import Operator
from processes import wait_until

AUTHORIZATION, SOURCE = "Bearer om_a-token-of-the-meter", "urn:hansard:a-test"
# Summing up, making events and sending them each have their pace.
SECONDS = 150


def secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def meter():
    meter = Meter(secret(), SOURCE, AUTHORIZATION).open()
    yield meter
    meter.close()


def used(owner: Operator, tenant: str) -> dict[str, int]:
    """What the admin plane says of today and yesterday; a test may begin in one day and end in the next."""
    start = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    answer = owner.call("GET", f"/v1/admin/tenants/{tenant}/usage?start_time={start}")
    assert answer.status_code == 200, answer.text
    results = [result for bucket in answer.json()["data"] for result in bucket["results"]]
    return {name: sum(result[name] for result in results) for name in COUNTERS}


def outbox_of(database) -> None:
    """Waits until there is one. What begins within the hour before is told of as well: a test may begin with an hour."""
    wait_until(lambda: database.query("SELECT 1 FROM usage_event_delivery"), 30, "there is an outbox")
    database.query("UPDATE usage_event_delivery SET first_hour = first_hour - interval '1 hour'")


def talk(server, key: str, seconds: int) -> None:
    with ListenSession(server, LINEAR16 | {"tag": "said"}, key=key) as session:
        session.send(bytes(32_000 * seconds))
        session.finish()


def talk_at_once(server, keys: list[str]) -> None:
    threads = [threading.Thread(target=talk, args=(server, key, 1 + number)) for number, key in enumerate(keys)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_meter_with_bad_manners_has_everything_once(own_server, meter):
    """It fails, is slow, asks for time, finds batches too large, loses its answers, is away; and so is the node."""
    server = own_server(
        HANSARD_EVENTS_URL=meter.url, HANSARD_EVENTS_SECRET=f"{meter.secret},{secret()}",
        HANSARD_EVENTS_AUTHORIZATION=AUTHORIZATION, HANSARD_EVENTS_SOURCE=SOURCE, HANSARD_ROLLUP_INTERVAL="200ms",
        HANSARD_EVENTS_TIMEOUT="1s", HANSARD_EVENTS_RETRY_MAX="1s",
    )  # fmt: skip
    owner, database = Operator.owner(server), server.database()
    tenants = [owner.tenant(f"tenant {number}") for number in range(2)]
    keys = [owner.key(tenant)["key"] for tenant in tenants]
    outbox_of(database)

    def agrees() -> bool:
        sums = meter.sums()
        return all((expected := used(owner, tenant))["sessions"] > 0 and sums.get(tenant) == expected for tenant in tenants)

    meter.manners.extend([500, LOST, (429, {"Retry-After": "1"}), 1.5, (503, {"Retry-After": "0"}), LOST])
    talk_at_once(server, keys * 3)
    wait_until(lambda: not meter.manners and agrees(), SECONDS, "the meter has what was used")
    wait_until(lambda: metric(server, "hansard_usage_events_pending") == 0, SECONDS, "and has said so")
    assert max(meter.arrivals.values()) >= 4, "some came again, by the same names"

    # Batches are too large for it.
    meter.judge = lambda events: 413 if len(events) > 1 else None
    talk_at_once(server, keys * 2)
    wait_until(agrees, SECONDS, "one by one they arrive")
    assert metric(server, "hansard_usage_events_refused_total") == 0
    assert metric(server, "hansard_usage_events_failures_total") >= 5
    meter.judge = lambda events: None

    # It is away, and then the node is killed, with events that were made and not delivered.
    meter.close()
    talk_at_once(server, keys)
    wait_until(lambda: metric(server, "hansard_usage_events_pending") > 0, SECONDS, "events wait")
    server.kill()
    server.start()
    owner = Operator.owner(server)
    talk_at_once(server, keys)
    meter.open()
    wait_until(agrees, SECONDS, "nothing was lost")

    # What comes late is told as the difference, and what comes again is not.
    start = datetime.now(UTC) - timedelta(seconds=90)
    records = speak(tenants[0], 1, start, 1, tags=["late"])
    ingest(database, records)
    wait_until(agrees, SECONDS, "a session that a node was late with")
    ingest(database, records + [replace(records[-1], seq=9, audio=records[-1].audio + 5_000)])
    wait_until(agrees, SECONDS, "and a record that was later still")
    assert any(event["data"]["revision"] == 2 for event in meter.events.values())

    assert meter.faults == []
    assert not said(server, "set aside")
    assert AUTHORIZATION not in server.log() and meter.secret not in server.log()
    wait_until(lambda: metric(server, "hansard_usage_events_pending") == 0, 30, "nothing waits")
    check_command(server, meter, tenants)


def check_command(server, meter: Meter, tenants: list[str]) -> None:
    """The command line agrees, month by month."""
    at = dict(word.split("=") for word in server.database().url.split())
    # As nodes log in.
    url = f"postgresql://hansard_node@/hansard?host={at['host']}&port={at['port']}"
    settings = {"HANSARD_DATABASE_URL": url, "HANSARD_EVENTS_SOURCE": SOURCE}
    months = sorted({event["time"][:7] for event in meter.events.values()})
    exported, rows, lines = {}, [], []
    for month in months:
        verified = hansard("usage", "verify", "--period", month, **settings)
        # Of sessions that were put into the ledger by hand there are no rows, and most were at work a moment ago.
        found = {line.split(":")[0] for line in verified.stdout.splitlines()}
        assert found <= {"sessions", "recent", month}, verified.stdout + verified.stderr

        def export(form: str, *more: str) -> str:
            done = hansard("usage", "export", "--period", month, "--format", form, *more, **settings)
            assert done.returncode == 0, done.stderr
            return done.stdout

        for line in export("cloudevents").splitlines():
            event = json.loads(line)
            check_event(event, SOURCE)
            exported[event["id"]] = event
        for tenant in tenants:
            rows += csv.DictReader(io.StringIO(export("csv", "--tenant", tenant), newline=""), strict=True)
            lines += map(json.loads, export("jsonl", "--tenant", tenant).splitlines())
    assert exported == meter.events
    for tenant in tenants:
        for found in (rows, lines):
            sums = {name: sum(int(row[name]) for row in found if row["tenant_id"] == tenant) for name in COUNTERS}
            assert sums == meter.sums()[tenant]
    assert {row["tags"] for row in rows} == {'["said"]', '["late"]'}


def test_one_event_that_is_refused_holds_up_nobody(own_server, meter):
    server = own_server(
        HANSARD_EVENTS_URL=meter.url, HANSARD_EVENTS_SECRET=meter.secret, HANSARD_EVENTS_AUTHORIZATION=AUTHORIZATION,
        HANSARD_EVENTS_SOURCE=SOURCE,
    )  # fmt: skip
    owner, database = Operator.owner(server), server.database()
    tenants = [owner.tenant(f"tenant {number}") for number in range(3)]
    outbox_of(database)
    meter.judge = lambda events: 422 if any(event["subject"] == tenants[1] for event in events) else None
    start = datetime.now(UTC) - timedelta(seconds=90)
    ingest(database, [record for number, tenant in enumerate(tenants) for record in speak(tenant, number, start, 1)])
    wait_until(lambda: {tenants[0], tenants[2]} <= set(meter.sums()), SECONDS, "the others arrive")
    # It may have been the last one there was, and then waits until another is taken.
    ingest(database, speak(tenants[0], 3, start, 1))
    wait_until(lambda: metric(server, "hansard_usage_events_refused_total") > 0, 30, "it is set aside")
    wait_until(lambda: metric(server, "hansard_usage_events_pending") == 0, 30, "nothing waits")
    refused = metric(server, "hansard_usage_events_refused_total")
    assert tenants[1] not in meter.sums() and len(said(server, "set aside")) == refused
    rows = database.query("SELECT DISTINCT tenant_id, refused_status FROM usage_events WHERE refused_at IS NOT NULL")
    assert rows == [[tenants[1], "422"]]
    assert meter.faults == []


def test_a_receiver_with_another_secret_loses_nothing(own_server, meter):
    """It cannot verify what it is sent, and says 400, until somebody gives it the right secret."""
    server = own_server(
        HANSARD_EVENTS_URL=meter.url, HANSARD_EVENTS_SECRET=meter.secret, HANSARD_EVENTS_AUTHORIZATION=AUTHORIZATION,
        HANSARD_EVENTS_SOURCE=SOURCE, HANSARD_ROLLUP_INTERVAL="200ms", HANSARD_EVENTS_RETRY_MAX="1s",
    )  # fmt: skip
    owner, database = Operator.owner(server), server.database()
    tenants = [owner.tenant(f"tenant {number}") for number in range(15)]
    outbox_of(database)
    meter.judge = lambda events: 400
    start = datetime.now(UTC) - timedelta(seconds=90)
    ingest(database, [record for number, tenant in enumerate(tenants) for record in speak(tenant, number, start, 1)])
    wait_until(lambda: metric(server, "hansard_usage_events_failures_total") >= 5, SECONDS, "it was asked again and again")
    assert metric(server, "hansard_usage_events_pending") >= 15
    meter.judge = lambda events: None
    wait_until(lambda: set(meter.sums()) == set(tenants), SECONDS, "all arrive")
    wait_until(lambda: metric(server, "hansard_usage_events_pending") == 0, SECONDS, "nothing waits")
    assert metric(server, "hansard_usage_events_refused_total") == 0 and not said(server, "set aside")
    assert said(server, "HANSARD_EVENTS_SECRET") and meter.faults == []


@pytest.mark.parametrize(
    "options, word",
    [
        (["--period", "2026-13", "--format", "csv"], "--period"),
        (["--period", "2026-11", "--format", "xml"], "format"),
        (["--period", "2026-11", "--format", "csv", "--tenant", "me"], "--tenant"),
    ],
)
def test_what_is_wrong_with_an_export_is_said(options, word):
    done = hansard("usage", "export", *options, HANSARD_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")
    assert done.returncode == 2 and word in done.stderr and not done.stdout


def test_an_export_that_cannot_be_had_fails():
    url = "postgresql://nobody@127.0.0.1:1/x"
    done = hansard("usage", "export", "--period", "2026-11", "--format", "jsonl", HANSARD_DATABASE_URL=url)
    assert done.returncode == 1 and "2026-11" in done.stderr
