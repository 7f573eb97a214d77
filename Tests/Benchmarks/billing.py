"""A month of 1,000 tenants, a million sessions and ten million usage records: how long reports take, and how that grows from a
tenth of it to all; and how long the month takes to close."""

import random
import statistics
import time

import requests

from database import Database
from operators import Operator
from places import RELEASE_BINARY
from server import Server

TENANTS, SESSIONS, RECORDS = 1_000, 1_000_000, 10
# Records of a statement, and of a transaction.
BATCH, SESSIONS_AT_ONCE = 500, 20_000
# In eight hours of each day.
MONTH, DAYS, HOURS = "2026-08", 31, 8
REPORTS = {
    "a month by day and engine": "start_time=2026-08-01T00:00:00Z&end_time=2026-09-01T00:00:00Z&bucket_width=1d&limit=31&group_by[]=engine",
    "a month, by key": "start_time=2026-08-01T00:00:00Z&end_time=2026-09-01T00:00:00Z&bucket_width=1mo&group_by[]=key_id",
    "a day by hour": "start_time=2026-08-12T00:00:00Z&end_time=2026-08-13T00:00:00Z&bucket_width=1h&limit=24",
    "an hour by minute": "start_time=2026-08-12T10:00:00Z&end_time=2026-08-12T11:00:00Z&bucket_width=1m&limit=60",
}
CALLS = 200


def add_tenants(database: Database, owner: Operator) -> None:
    plan = owner.plan(increment_ms=1_000, minimum_ms=15_000, commitment="5", charges=[
        {"engine": "synthetic", "tiers": [{"up_to": 100, "unit_price": "0.03"}, {"unit_price": "0.024"}]},
        {"unit": "hour", "mode": "volume", "tiers": [{"up_to": 10, "unit_price": "0.4"}, {"unit_price": "0.3"}]},
    ])  # fmt: skip
    database.query(
        f"""
        INSERT INTO tenants (tenant_id, name, status, limit_version, created_at)
        SELECT md5('t' || number)::uuid, 'tenant ' || number, 'active', 1, now() FROM generate_series(1, {TENANTS}) AS number;
        INSERT INTO plan_assignments (tenant_id, plan_id, version, from_period, created_at, updated_at)
        SELECT md5('t' || number)::uuid, '{plan}', 1, '{MONTH}', now(), now() FROM generate_series(1, {TENANTS}) AS number
        """
    )


def ingest(database: Database, first: int, last: int) -> None:
    """Sessions at random moments of the month, each with a record every ten seconds, as the ledger's own function takes them."""
    for start in range(first, last, SESSIONS_AT_ONCE):
        database.query(
            f"""
            SELECT ingest_usage(
                array_agg(md5('t' || s % {TENANTS} + 1)::uuid), array_agg(id), array_agg(0::bigint), array_agg('node'::text),
                array_agg(r::bigint), array_agg('{MONTH}'::text), array_agg(began + r * interval '10 seconds'),
                array_agg(r * 10000::bigint), array_agg(r * 10500::bigint), array_agg(r * 10000::bigint),
                array_agg(r = {RECORDS} - 1), array_agg('key_' || s % 3000),
                array_agg(CASE WHEN s % 5 = 0 THEN 'deepgram' ELSE 'synthetic' END), array_agg('nova-3'::text),
                array_agg('en-US'::text), array_agg('[]'::text), array_agg('eu-west-1'::text), array_agg(1::bigint),
                array_agg(began), array_agg(began), array_agg(0::bigint), array_agg(0::bigint))
            FROM (
                SELECT s, r, began, (s * {RECORDS} + r) / {BATCH} AS batch, overlay(
                    md5('s' || s) PLACING lpad(to_hex((extract(epoch FROM began) * 1000)::bigint), 12, '0') || '7' FROM 1 FOR 13
                )::uuid AS id
                FROM (
                    SELECT s, '{MONTH}-01T00:00:00Z'::timestamptz
                        + s % {DAYS} * interval '1 day' + (8 * 3600 + s::bigint * 7919 % ({HOURS} * 3600)) * interval '1 second'
                        AS began
                    FROM generate_series({start}, {start + SESSIONS_AT_ONCE - 1}) AS s
                ) AS s, generate_series(0, {RECORDS} - 1) AS r
            ) AS given
            GROUP BY batch
            """,
            120,
        )


def roll_up(database: Database) -> None:
    """The node sums up too, and of two one does."""
    while database.query("SELECT FROM usage_dirty_hours LIMIT 1"):
        database.query("SELECT roll_usage(5000)", 120)
    database.query("VACUUM ANALYZE", 300)


def call(server: Server, token: str, method: str, path: str) -> tuple[dict, float]:
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{random.random()}"}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, server.url + path, headers=headers, timeout=1_200)
    assert answer.status_code == 200, answer.text
    return answer.json(), (time.monotonic() - began) * 1_000


def reports(server: Server, token: str, tenants: list[str]) -> dict[str, tuple[float, float]]:
    """Milliseconds, p50 and p99, of each kind of report of tenants at random."""
    figures = {}
    for name, query in REPORTS.items():
        times = sorted(
            call(server, token, "GET", f"/v1/admin/tenants/{random.choice(tenants)}/usage?{query}")[1] for _ in range(CALLS)
        )
        figures[name] = (statistics.median(times), times[CALLS * 99 // 100])
    return figures


def main() -> None:
    settings = dict(HANSARD_REQUESTS_PER_TOKEN="none", HANSARD_REQUESTS_PER_ADDRESS="none")
    with Server(RELEASE_BINARY, **settings) as server:
        database, owner = server.database(), Operator.owner(server)
        add_tenants(database, owner)
        tenants = [row[0] for row in database.query("SELECT tenant_id FROM plan_assignments")]
        ingest(database, 0, SESSIONS // 10)
        roll_up(database)
        tenth = reports(server, owner.token, tenants)
        ingest(database, SESSIONS // 10, SESSIONS)
        roll_up(database)
        (count,) = database.query("SELECT count(*) FROM usage_records")[0]
        assert int(count) == SESSIONS * RECORDS
        whole = reports(server, owner.token, tenants)
        print(f"Reports by HTTP of {TENANTS} tenants at random, ms, {CALLS} calls each: p50 and p99")
        print(f"{'':<28}{SESSIONS * RECORDS // 10:>20,} records{SESSIONS * RECORDS:>20,} records")
        for name, figures in whole.items():
            few = "{:8.1f} {:8.1f}".format(*tenth[name])
            print(f"{name:<28}{few:>28}{'{:8.1f} {:8.1f}'.format(*figures):>28}")
        _, preview = call(server, owner.token, "GET", f"/v1/admin/tenants/{tenants[0]}/invoices/{MONTH}/preview")
        closed, took = call(server, owner.token, "POST", f"/v1/admin/periods/{MONTH}/close")
        assert (closed["state"], closed["invoices"]) == ("closed", TENANTS)
        (raw,) = database.query("SELECT sum(raw_ms) FROM invoice_lines")[0]
        assert int(raw) == SESSIONS * (RECORDS - 1) * 10_000
        print(f"a preview for {SESSIONS // TENANTS:,} sessions {preview:8.0f} ms")
        print(f"closing a month of {TENANTS:,} tenants and {SESSIONS:,} sessions {took / 1_000:8.1f} s")
        print()


if __name__ == "__main__":
    main()
