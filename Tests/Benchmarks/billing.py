"""A month of 1,000 tenants, a million sessions and ten million usage records: how long reports take, and how that grows from a
tenth of it to all; and how long the month takes to close. A tenth of it is one tenant's, whose reports are measured by
themselves."""

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from database import Database
from operators import Operator
from places import RELEASE_BINARY
from server import Server

TENANTS, SESSIONS, RECORDS = 1_000, 1_000_000, 10
# Of each so many rounds of a session for every tenant one is all the first tenant's.
ROUNDS = 10
# Of every tenant, and of the first.
KEYS, KEYS_OF_FIRST = 3, 50
# Records of a statement, and of a transaction.
BATCH, SESSIONS_AT_ONCE = 500, 20_000
# Transactions at once, and hours of tenants that are summed up in one.
CONNECTIONS, HOURS_AT_ONCE = 2, 50_000
# In four hours of each day.
MONTH, DAYS, HOURS = "2026-08", 31, 4
REPORTS = {
    "a month by day and engine": "start_time=2026-08-01T00:00:00Z&end_time=2026-09-01T00:00:00Z&bucket_width=1d&limit=31&group_by[]=engine",
    "a month, by key": "start_time=2026-08-01T00:00:00Z&end_time=2026-09-01T00:00:00Z&bucket_width=1mo&group_by[]=key_id",
    "a day by hour": "start_time=2026-08-12T00:00:00Z&end_time=2026-08-13T00:00:00Z&bucket_width=1h&limit=24",
    "an hour by minute": "start_time=2026-08-12T10:00:00Z&end_time=2026-08-12T11:00:00Z&bucket_width=1m&limit=60",
}
CALLS = 200
# Seconds until it is looked again whether everything is summed up.
PAUSE = 0.1


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
    """Sessions at random moments of the month, each with a record every ten seconds, as the ledger's own function takes them.
    Every tenant's are at two engines, and of several keys."""

    def take(start: int) -> None:
        database.query(
            f"""
            SELECT ingest_usage(
                array_agg(md5('t' || tenant)::uuid), array_agg(id), array_agg(0::bigint), array_agg('node'::text),
                array_agg(r::bigint), array_agg('{MONTH}'::text), array_agg(began + r * interval '10 seconds'),
                array_agg(r * 10000::bigint), array_agg(r * 10500::bigint), array_agg(r * 10000::bigint),
                array_agg(r = {RECORDS} - 1), array_agg('key_' || tenant || '_' || key),
                array_agg(engine), array_agg('nova-3'::text),
                array_agg('en-US'::text), array_agg('[]'::text), array_agg('eu-west-1'::text), array_agg(1::bigint),
                array_agg(began), array_agg(began), array_agg(0::bigint), array_agg(0::bigint))
            FROM (
                SELECT tenant, key, engine, r, began, (s * {RECORDS} + r) / {BATCH} AS batch, overlay(
                    md5('s' || s) PLACING lpad(to_hex((extract(epoch FROM began) * 1000)::bigint), 12, '0') || '7' FROM 1 FOR 13
                )::uuid AS id
                FROM (
                    SELECT s,
                        CASE WHEN s / {TENANTS} % {ROUNDS} = 0 THEN 1 ELSE s % {TENANTS} + 1 END AS tenant,
                        CASE WHEN s / {TENANTS} % {ROUNDS} = 0 THEN s % {KEYS_OF_FIRST} ELSE s / {TENANTS} % {KEYS} END AS key,
                        CASE WHEN s / ({TENANTS} * {ROUNDS}) % 5 = 0 THEN 'deepgram' ELSE 'synthetic' END AS engine,
                        '{MONTH}-01T00:00:00Z'::timestamptz
                        + s % {DAYS} * interval '1 day' + (8 * 3600 + s::bigint * 7919 % ({HOURS} * 3600)) * interval '1 second'
                        AS began
                    FROM generate_series({start}, {start + SESSIONS_AT_ONCE - 1}) AS s
                ) AS s, generate_series(0, {RECORDS} - 1) AS r
            ) AS given
            GROUP BY batch
            """,
            300,
        )

    with ThreadPoolExecutor(CONNECTIONS) as connections:
        list(connections.map(take, range(first, last, SESSIONS_AT_ONCE)))


def roll_up(database: Database) -> None:
    """The node may sum up too, and of two one does: what is not done here is waited for."""
    while database.query("SELECT 1 FROM usage_dirty_hours LIMIT 1"):
        (rolled,) = database.query(f"SELECT roll_usage({HOURS_AT_ONCE})", 600)[0]
        if rolled == "0":
            time.sleep(PAUSE)
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


def show(of: str, tenth: dict[str, tuple[float, float]], whole: dict[str, tuple[float, float]], records: int) -> None:
    """The figures at both sizes, of so many records in all."""
    print(f"Reports by HTTP of {of}, ms, {CALLS} calls each: p50 and p99")
    print(f"{'':<28}{records // 10:>20,} records{records:>20,} records")
    for name, figures in whole.items():
        few = "{:8.1f} {:8.1f}".format(*tenth[name])
        print(f"{name:<28}{few:>28}{'{:8.1f} {:8.1f}'.format(*figures):>28}")


def main() -> None:
    # A month that comes in minutes would be summed up again and again beside what is measured.
    settings = dict(HANSARD_REQUESTS_PER_TOKEN="none", HANSARD_REQUESTS_PER_ADDRESS="none", HANSARD_ROLLUP_INTERVAL="600s")
    with Server(RELEASE_BINARY, **settings) as server:
        database, owner = server.database(), Operator.owner(server)
        add_tenants(database, owner)
        (first,) = database.query("SELECT md5('t1')::uuid")[0]
        tenants = [row[0] for row in database.query(f"SELECT tenant_id FROM plan_assignments WHERE tenant_id <> '{first}'")]
        ingest(database, 0, SESSIONS // 10)
        roll_up(database)
        tenth = [reports(server, owner.token, some) for some in (tenants, [first])]
        ingest(database, SESSIONS // 10, SESSIONS)
        roll_up(database)
        (count,) = database.query("SELECT count(*) FROM usage_records")[0]
        assert int(count) == SESSIONS * RECORDS
        (of_first,) = database.query(f"SELECT count(*) FROM usage_records WHERE tenant_id = '{first}'")[0]
        assert int(of_first) >= SESSIONS * RECORDS // ROUNDS
        groups = database.query("SELECT 1 FROM usage_daily GROUP BY tenant_id HAVING count(DISTINCT engine) = 2")
        assert len(groups) == TENANTS
        whole = [reports(server, owner.token, some) for some in (tenants, [first])]
        show(f"{TENANTS:,} tenants at random", tenth[0], whole[0], SESSIONS * RECORDS)
        show(f"the tenant that has {int(of_first):,} of them", tenth[1], whole[1], SESSIONS * RECORDS)
        _, preview = call(server, owner.token, "GET", f"/v1/admin/tenants/{tenants[0]}/invoices/{MONTH}/preview")
        _, preview_of_first = call(server, owner.token, "GET", f"/v1/admin/tenants/{first}/invoices/{MONTH}/preview")
        closed, took = call(server, owner.token, "POST", f"/v1/admin/periods/{MONTH}/close")
        assert (closed["state"], closed["invoices"]) == ("closed", TENANTS)
        (raw,) = database.query("SELECT sum(raw_ms) FROM invoice_lines")[0]
        assert int(raw) == SESSIONS * (RECORDS - 1) * 10_000
        print(f"a preview for {(SESSIONS - int(of_first) // RECORDS) // (TENANTS - 1):,} sessions {preview:8.0f} ms")
        print(f"a preview for {int(of_first) // RECORDS:,} sessions {preview_of_first:8.0f} ms")
        print(f"closing a month of {TENANTS:,} tenants and {SESSIONS:,} sessions {took / 1_000:8.1f} s")
        print()


if __name__ == "__main__":
    main()
