"""Months closed and invoices made, as operators and tenants see it; what nobody may change; and what `hansard usage verify` says."""

import base64
import csv
import hashlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from contract import operation
from database import Database
from ledger import ingest, roll_up, speak, utc
from listen import LINEAR16, ListenSession
from operators import Operator
from places import BINARY, environment_without_proxies

PERIODS, TENANTS = "/v1/admin/periods", "/v1/admin/tenants"
AUGUST, SEPTEMBER = "2026-08", "2026-09"


@pytest.fixture
def server(own_server):
    return own_server(HANSARD_CLOSE_GRACE="1h")


@pytest.fixture
def owner(server) -> Operator:
    return Operator.owner(server)


def close(owner: Operator, period: str, body=None):
    answer = owner.call("POST", f"{PERIODS}/{period}/close", body)
    operation("closePeriod").check(answer)
    return answer


def used(database: Database, tenant: str, *sessions) -> None:
    """Sessions with their records in the ledger, and the rows that their nodes leave."""
    for records in sessions:
        ingest(database, records)
        last = records[-1]
        database.query(
            "INSERT INTO usage_rows (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms, "
            f"engine_ms, connected_ms, started_at, ended_at) VALUES ('{tenant}', '{last.session}', 'key_1', '{last.engine}', "
            f"'general', 'en', '{{}}', 'local', 1, {last.audio}, {last.engine_ms}, {last.connected}, '{last.start}', '{last.at}')"
        )


def verify(server, period: str) -> subprocess.CompletedProcess:
    environment = {n: v for n, v in environment_without_proxies().items() if not n.startswith("HANSARD_")}
    at = dict(word.split("=") for word in Database.of(server).url.split())
    # As nodes log in.
    environment["HANSARD_DATABASE_URL"] = f"postgresql://hansard_node@/hansard?host={at['host']}&port={at['port']}"
    return subprocess.run(
        [BINARY, "usage", "verify", "--period", period], env=environment, capture_output=True, text=True, timeout=60)


def sessions_of(reader: Operator, line: dict, name: str) -> list[dict]:
    """All pages of a line's sessions, which are the line."""
    found, path = [], f"{line['sessions_url']}?limit=2"
    while path:
        page = reader.call("GET", path)
        assert page.status_code == 200, page.text
        operation(name).check(page)
        found += page.json()["data"]
        path = page.links.get("next", {}).get("url")
    for count in ("sessions", "raw_ms", "billed_ms"):
        assert sum(one[count] for one in found) == line[count]
    return found


def test_a_month_from_usage_to_invoice(server, owner):
    """Half of a session's time is audio, and both months are billed; late usage is billed with the next."""
    database, tenant = Database.of(server), owner.tenant()
    own = Operator(server, owner.key(tenant, scopes=["usage:read"])["key"])
    plan = owner.plan(charges=[{"tiers": [{"unit_price": "0.333"}]}], increment_ms=60_000)
    owner.assigned(tenant, AUGUST, plan_id=plan)
    used(database, tenant, *(speak(tenant, number, utc(2026, 8, 3, number), 9) for number in range(3)))
    path = f"{TENANTS}/{tenant}/invoices"
    preview = owner.call("GET", f"{path}/{AUGUST}/preview")
    operation("previewTenantInvoice").check(preview)
    # 4.5 minutes of audio each, 5 billed.
    assert preview.json()["total"] == "5.00" and preview.json()["lines"][0]["amount_precise"] == "4.995"
    assert close(owner, SEPTEMBER).status_code == 409, "August comes first"
    closed = close(owner, AUGUST).json()
    assert (closed["state"], closed["unbilled"], closed["invoices"]) == ("closed", [], 1)

    answer = owner.call("GET", f"{path}/{AUGUST}")
    operation("getTenantInvoice").check(answer)
    digest = hashlib.sha256(answer.content)
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    canonical = json.dumps(answer.json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert answer.text == canonical and answer.json()["lines"] == preview.json()["lines"]
    mine = own.call("GET", f"/v1/invoices/{AUGUST}")
    operation("getInvoice").check(mine)
    assert mine.content == answer.content
    (listed,) = own.call("GET", "/v1/invoices").json()["data"]
    assert listed["sha256"] == digest.hexdigest() and listed["total"] == "5.00"
    sessions = sessions_of(owner, answer.json()["lines"][0], "listTenantInvoiceLineSessions")
    assert [(one["sessions"], one["raw_ms"], one["billed_ms"]) for one in sessions] == [(1, 270_000, 300_000)] * 3
    line = answer.json()["lines"][0]
    line["sessions_url"] = line["sessions_url"].replace(f"/admin/tenants/{tenant}", "")
    assert sessions_of(own, line, "listInvoiceLineSessions") == sessions
    (row,) = csv.DictReader(own.call("GET", f"/v1/invoices/{AUGUST}?format=csv").text.splitlines())
    assert row["sessions_url"] == line["sessions_url"]

    used(database, tenant, speak(tenant, 7, utc(2026, 8, 30), 2))
    done = verify(server, AUGUST)
    assert done.returncode == 0 and "late: " in done.stdout and "0.33 USD" in done.stdout, done.stdout + done.stderr
    assert close(owner, SEPTEMBER).status_code == 200
    (line,) = owner.call("GET", f"{path}/{SEPTEMBER}").json()["lines"]
    assert (line["kind"], line["for_period"], line["amount"], line["sessions"]) == ("adjustment", AUGUST, "0.33", 1)
    assert sessions_of(owner, line, "listTenantInvoiceLineSessions")[0]["raw_ms"] == line["raw_ms"] == 60_000
    assert sessions_of(owner, answer.json()["lines"][0], "listTenantInvoiceLineSessions") == sessions
    assert owner.call("GET", f"{path}/{AUGUST}").content == answer.content
    for period in (AUGUST, SEPTEMBER):
        done = verify(server, period)
        assert done.returncode == 0 and "agree" in done.stdout and "late" not in done.stdout, done.stdout + done.stderr


def test_a_row_that_was_altered_is_named(server, owner):
    database, tenant = Database.of(server), owner.tenant()
    records = speak(tenant, 1, utc(2026, 8, 3), 2)
    used(database, tenant, records)
    assert verify(server, AUGUST).returncode == 0
    database.query("UPDATE usage_segments SET audio_ms = audio_ms - 1")
    done = verify(server, AUGUST)
    assert done.returncode == 1 and records[0].session in done.stdout and "differences" in done.stderr
    assert verify(server, "2026-8").returncode == 2


@pytest.mark.parametrize(("statements", "said"), [
    ("UPDATE usage_rows SET engine = 'x'", "sessions: "),
    ("UPDATE usage_segments SET engine = 'x'", "engine is x"),
    ("UPDATE usage_hourly SET key_id = 'x'", "hours: "),
    ("DELETE FROM usage_daily", "days: "),
    ("UPDATE credits SET amount = -7", "credits: "),
    ("DELETE FROM invoice_lines; DELETE FROM invoices", "the last number that was given is 1"),
    ("UPDATE plan_versions SET document = replace(document::text, 'USD', 'EUR')::jsonb", "is billed in USD"),
    ("UPDATE plan_versions SET document = replace(document::text, '0.333', '0.334')::jsonb", "it is not as in version 1"),
    ("DELETE FROM plan_assignments", "was not the tenant's"),
    ("DELETE FROM billing_periods", "neither closing nor closed"),
])  # fmt: skip
def test_what_was_altered_beside_late_usage_is_found(server, owner, statements, said):
    database, tenant = Database.of(server), owner.tenant()
    owner.assigned(tenant, AUGUST, plan_id=owner.plan(charges=[{"tiers": [{"unit_price": "0.333"}]}]))
    owner.credited(tenant, AUGUST)
    used(database, tenant, speak(tenant, 1, utc(2026, 8, 3), 2))
    roll_up(database)
    assert close(owner, AUGUST).status_code == 200
    used(database, tenant, speak(tenant, 7, utc(2026, 8, 30), 2))
    roll_up(database)
    done = verify(server, AUGUST)
    assert done.returncode == 0 and "late: " in done.stdout, done.stdout + done.stderr
    database.query(f"SET session_replication_role = replica; {statements}")
    done = verify(server, AUGUST)
    assert done.returncode == 1 and said in done.stdout, done.stdout + done.stderr


def test_a_live_system_agrees(server, owner):
    """Sessions begin and end while it is verified: their rows and their records come by two ways."""
    key = owner.key(owner.tenant())["key"]
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            verified = pool.submit(verify, server, f"{datetime.now(UTC):%Y-%m}")
            while not verified.done():
                with ListenSession(server, LINEAR16, key=key) as session:
                    session.send(bytes(32_000))
                    session.finish()
            done = verified.result()
            assert done.returncode == 0, done.stdout + done.stderr


def test_many_who_close_make_each_invoice_once(server, owner):
    database, tenants = Database.of(server), [owner.tenant() for _ in range(12)]
    plan = owner.plan(commitment="7")
    for number, tenant in enumerate(tenants):
        owner.assigned(tenant, AUGUST, plan_id=plan)
        used(database, tenant, speak(tenant, number, utc(2026, 8, 3, number), 3))
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: close(owner, AUGUST).status_code, range(4)))
    assert 200 in statuses and set(statuses) <= {200, 409}
    invoices = owner.call("GET", f"/v1/admin/invoices?period={AUGUST}&limit=100").json()["data"]
    assert sorted(one["number"] for one in invoices) == list(range(1, 13))
    assert {one["tenant_id"] for one in invoices} == set(tenants)
    assert sum(Decimal(one["total"]) for one in invoices) == 12 * 7
    for statement in ("UPDATE invoices SET total = 0", "DELETE FROM invoice_lines", "TRUNCATE invoices CASCADE", "DELETE FROM billing_periods"):
        with pytest.raises(AssertionError, match="what was billed stays|a month is opened"):
            database.query(statement)


def test_a_lost_node_is_named_and_given_up(server, owner):
    """What leases told of its sessions counts then; their rows were lost with it, and that is no difference. It counts once,
    though the node comes back."""
    database, tenant, start = Database.of(server), owner.tenant(), utc(2026, 8, 20)
    records = speak(tenant, 1, start, 2)
    ingest(database, records[:-1])
    database.query(
        "WITH lost AS (INSERT INTO usage_sources (node, epoch, spool, complete_through) "
        f"VALUES ('burned', gen_random_uuid(), gen_random_uuid(), '{start}') RETURNING epoch) "
        f"INSERT INTO usage_reaped SELECT '{tenant}', '{records[0].session}', 'burned', epoch, 'key_1', 'local', '{start}', "
        f"'{start}'::timestamptz + interval '3 minutes', 90000 FROM lost")
    refused = close(owner, AUGUST)
    assert refused.status_code == 409 and "burned (epoch" in refused.json()["detail"]
    listed = owner.call("GET", "/v1/admin/usage-sources")
    operation("listUsageSources").check(listed)
    lost = listed.json()["data"][0]
    answer = owner.call(
        "POST", f"/v1/admin/usage-sources/burned/{lost['epoch']}/retire", {"reason": "the rack burned"})
    operation("retireUsageSource").check(answer)
    assert answer.json()["state"] == "retired"
    assert close(owner, AUGUST).status_code == 200
    query = f"{TENANTS}/{tenant}/usage/sessions?start_time={AUGUST}-01T00:00:00Z&end_time={SEPTEMBER}-01T00:00:00Z"
    for brought in ([], records[-1:], speak(tenant, 1, start, 4)):
        if brought:
            ingest(database, brought)
        (session,) = owner.call("GET", query).json()["data"]
        assert session["audio_ms"] == max([90_000, *(record.audio for record in brought)]), session
        done = verify(server, AUGUST)
        assert done.returncode == 0 and "agree" in done.stdout, done.stdout + done.stderr
    alive = next(one for one in owner.call("GET", "/v1/admin/usage-sources").json()["data"] if one["state"] == "active")
    refused = owner.call("POST", f"/v1/admin/usage-sources/{alive['node']}/{alive['epoch']}/retire", {"reason": "x"})
    assert refused.status_code == 409 and "at work" in refused.json()["detail"]


def test_a_tenant_that_was_deleted_is_billed_still(server, owner):
    database, tenant = Database.of(server), owner.tenant()
    owner.assigned(tenant, AUGUST)
    used(database, tenant, speak(tenant, 1, utc(2026, 8, 3), 10))
    assert owner.call("DELETE", f"{TENANTS}/{tenant}").status_code in (202, 204)
    assert close(owner, AUGUST).json()["unbilled"] == []
    invoice = owner.call("GET", f"{TENANTS}/{tenant}/invoices/{AUGUST}").json()
    assert invoice["total"] == "0.12" and invoice["lines"][0]["raw_ms"] == 300_000
    (session,) = sessions_of(owner, invoice["lines"][0], "listTenantInvoiceLineSessions")
    assert session["raw_ms"] == 300_000
