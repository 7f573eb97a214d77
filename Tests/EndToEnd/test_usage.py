"""Usage by time and by session, on both planes, of sessions of which it is known what they used."""

import csv
import io
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contract import operation
from database import Database
from ledger import ingest, roll_up, speak, utc
from listen import LINEAR16, ListenSession
from operators import Operator
from processes import wait_until

RANGE = "start_time=2026-01-31T20:00:00Z&end_time=2026-02-03T00:00:00Z"
MILLISECONDS = ("audio_ms", "connected_ms", "engine_ms")
FORMULA, UNICODE = '=HYPERLINK("http://x","y")', "Größe, «日本» 👩‍👩‍👧"


class Customer:
    """A tenant with usage, on every plane."""

    def __init__(self, owner: Operator):
        self.owner, self.tenant = owner, owner.tenant()
        self.own = Operator(owner.server, owner.key(self.tenant)["key"])
        self.database = Database.of(owner.server)

    def answers(self, query: str, sessions: bool = False):
        path = "/sessions" if sessions else ""
        ids = ("listSessionUsage", "listTenantSessionUsage") if sessions else ("getUsage", "getTenantUsage")
        return [
            (operation(ids[0]), self.own.call("GET", f"/v1/usage{path}?{query}")),
            (operation(ids[1]), self.owner.call("GET", f"/v1/admin/tenants/{self.tenant}/usage{path}?{query}")),
        ]

    def get(self, query: str, sessions: bool = False) -> dict:
        """What both planes say, which is the same; of a session that lives, a record may come between the two."""
        for _ in range(5):
            said = []
            for one, answer in self.answers(query, sessions):
                assert answer.status_code == 200, answer.text
                one.check(answer)
                said.append(answer.json())
            if said[0]["data"] == said[1]["data"]:
                break
        assert said[0]["data"] == said[1]["data"]
        datetime.fromisoformat(said[0]["data_as_of"])
        return said[0]

    def all(self, query: str, sessions: bool = False) -> list[dict]:
        """All pages."""
        cursor, found = "", []
        name = "after" if sessions else "page"
        while True:
            page = self.get(query + cursor, sessions)
            found += page["data"]
            following = page["next_cursor" if sessions else "next_page"]
            assert page["has_more"] == (following is not None)
            if not following:
                return found
            cursor = f"&{name}={following}"


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


@pytest.fixture(scope="module")
def customer(owner) -> Customer:
    """A session over the end of a month, one with two tags, one of another engine with strange tags; and another tenant's."""
    made = Customer(owner)
    before, after = utc(2026, 1, 31, 23, 30), utc(2026, 2, 1)
    crossing = speak(made.tenant, 1, before, 30, tags=["a"])
    # Of the same session, in the next month.
    part = {"session": crossing[0].session, "start": before, "segment": 1}
    records = crossing + [replace(one, **part) for one in speak(made.tenant, 1, after, 60, tags=["a"])]
    records += speak(made.tenant, 2, utc(2026, 2, 1, 5), 10, tags=["a", "b"], key="key_2")
    records += speak(made.tenant, 3, utc(2026, 2, 2, 23, 59), 1, tags=[FORMULA, UNICODE], engine="deepgram", model="+nova")
    records += speak(made.tenant, 4, utc(2026, 2, 2, 7, 15), 5, language="de")
    made.records = records
    ingest(made.database, records)
    ingest(made.database, speak(owner.tenant("another"), 9, utc(2026, 2, 1, 5), 100, tags=["a"]))
    return made


def total(buckets: list[dict]) -> dict:
    counts = Counter()
    for bucket in buckets:
        for result in bucket["results"]:
            counts.update({name: result[name] for name in (*MILLISECONDS, "sessions")})
    return dict(counts)


MINUTES = 30 + 60 + 10 + 1 + 5
WHOLE = {"audio_ms": 30_000 * MINUTES, "connected_ms": 60_000 * MINUTES, "engine_ms": 31_000 * MINUTES, "sessions": 4}


@pytest.mark.parametrize("width, limit", [("1m", 1440), ("1h", 168), ("1h", 7), ("1d", 31), ("1d", 1), ("1mo", 60)])
def test_every_width_has_all_of_it_in_buckets_that_join(customer, width, limit):
    buckets = customer.all(f"{RANGE}&bucket_width={width}&limit={limit}")
    assert total(buckets) == WHOLE
    assert buckets[0]["start_time"] == "2026-01-31T20:00:00.000Z" and buckets[-1]["end_time"] == "2026-02-03T00:00:00.000Z"
    assert [one["end_time"] for one in buckets[:-1]] == [one["start_time"] for one in buckets[1:]]
    assert len(buckets) == {"1m": 52 * 60, "1h": 52, "1d": 3, "1mo": 2}[width]


def test_time_counts_when_it_was_spent_and_a_session_when_it_began(customer):
    first, second = customer.get(f"{RANGE}&bucket_width=1mo")["data"]
    assert first["results"] == [{"audio_ms": 900_000, "connected_ms": 1_800_000, "engine_ms": 930_000, "sessions": 1}]
    assert total([second]) == {name: WHOLE[name] - first["results"][0][name] for name in WHOLE}
    minute = customer.get("start_time=2026-02-01T00:00:00Z&end_time=2026-02-01T00:01:00Z&bucket_width=1m")["data"]
    assert total(minute) == {"audio_ms": 30_000, "connected_ms": 60_000, "engine_ms": 31_000, "sessions": 0}


def test_groups(customer):
    def groups(query: str) -> dict:
        month = "start_time=2026-02-01T00:00:00Z&end_time=2026-03-01T00:00:00Z&bucket_width=1mo"
        (bucket,) = customer.get(f"{month}&{query}")["data"]
        names = [name for name in bucket["results"][0] if name not in (*MILLISECONDS, "sessions")]
        return {tuple(one[name] for name in names): one["audio_ms"] // 30_000 for one in bucket["results"]}

    assert groups("group_by[]=key_id") == {("key_1",): 66, ("key_2",): 10}
    assert groups("group_by=tag") == {("a",): 70, ("b",): 10, (FORMULA,): 1, (UNICODE,): 1, (None,): 5}
    assert groups("group_by[]=engine&group_by[]=language") == {
        ("deepgram", "en"): 1, ("synthetic", "de"): 5, ("synthetic", "en"): 70
    }  # fmt: skip
    assert groups("group_by[]=engine&tag=b") == {("synthetic",): 10}
    assert groups("group_by[]=region&model=%2Bnova") == {("local",): 1}


def test_rolling_up_changes_no_answer(customer):
    queries = [
        f"{RANGE}&bucket_width={width}&limit={limit}{groups}"
        for width, limit in (("1h", 168), ("1d", 31), ("1mo", 60))
        for groups in ("", "&group_by[]=tag", "&group_by[]=key_id&group_by[]=engine")
    ]
    before = [customer.get(query)["data"] for query in queries]
    while roll_up(customer.database, 2):
        assert [customer.get(query)["data"] for query in queries] == before
    # What comes again changes nothing, and is still true.
    ingest(customer.database, customer.records[:20])
    assert [customer.get(query)["data"] for query in queries] == before


def test_sessions(customer):
    sessions = customer.all(f"{RANGE}&limit=2", sessions=True)
    assert [one["audio_ms"] for one in sessions] == [30_000, 150_000, 300_000, 2_700_000]
    assert sum(one["engine_ms"] for one in sessions) == WHOLE["engine_ms"]
    crossing = sessions[-1]
    assert crossing["segments"] == 2 and crossing["periods"] == ["2026-01", "2026-02"] and crossing["is_final"]
    assert crossing["started_at"] == "2026-01-31T23:30:00.000Z" and crossing["tags"] == ["a"]
    (one,) = customer.all(f"{RANGE}&key_id=key_2", sessions=True)
    assert one["tags"] == ["a", "b"] and one["key_id"] == "key_2"
    assert customer.all("start_time=2026-02-01T00:00:00Z&end_time=2026-02-01T05:00:00Z", sessions=True) == []


def test_tables(customer):
    for _, answer in customer.answers(f"{RANGE}&bucket_width=1mo&group_by[]=tag&group_by[]=model&format=csv"):
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/csv; charset=utf-8"
        datetime.fromisoformat(answer.headers["data-as-of"])
        header, *rows = csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True)
        assert header == ["start_time", "end_time", "model", "tag", *MILLISECONDS, "sessions"]
        assert {(row[2], row[3]) for row in rows} == {
            ("general", "a"), ("general", "b"), ("general", ""), ("'+nova", "'" + FORMULA), ("'+nova", UNICODE)
        }  # fmt: skip
        assert answer.content.count(b"\r\n") == len(rows) + 1 and b"\n\n" not in answer.content
    pages, query = [], f"{RANGE}&limit=3&format=csv"
    while query:
        answer = customer.own.call("GET", f"/v1/usage/sessions?{query}")
        pages += list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
        query = answer.links["next"]["url"].split("?")[1] if "next" in answer.links else None
    assert [int(page["audio_ms"]) for page in pages] == [30_000, 150_000, 300_000, 2_700_000]
    assert pages[-1]["periods"] == "2026-01 2026-02" and pages[-1]["tags"] == '["a"]'


@pytest.mark.parametrize(
    "query, field",
    [
        ("", "start_time"),
        ("start_time=2026-02-01T00:00:30Z&bucket_width=1m", "start_time"),
        ("start_time=2026-02-01T00:30:00Z", "start_time"),
        (f"{RANGE}&limit=32", "limit"),
        (f"{RANGE}&bucket_width=1h&limit=169", "limit"),
        (f"{RANGE}&bucket_width=2h", "bucket_width"),
        (f"{RANGE}&group_by[]=tenant", "group_by[]"),
        (f"{RANGE}&page=abcdef", "page"),
        (f"{RANGE}&user=me", "user"),
        ("start_time=2026-02-01T00:00:00Z&end_time=2026-02-01T00:00:00Z", "end_time"),
        ("start_time=2024-02-01T00:00:00Z&end_time=2026-02-01T00:00:00Z&bucket_width=1h", "end_time"),
    ],
)
def test_what_is_wrong_is_said(customer, query, field):
    for one, answer in customer.answers(query):
        assert answer.status_code == 400, answer.text
        one.check(answer)
        (error,) = answer.json()["errors"]
        assert error["pointer"] == field


def test_a_page_of_a_tenant_tells_another_one_nothing(customer, owner):
    page = customer.get(f"{RANGE}&bucket_width=1d&limit=1")["next_page"]
    stranger = Operator(owner.server, owner.key(owner.tenant())["key"])
    answer = stranger.call("GET", f"/v1/usage?{RANGE}&bucket_width=1d&limit=1&page={page}")
    assert answer.status_code == 400 and answer.json()["errors"][0]["pointer"] == "page"
    other = stranger.call("GET", f"/v1/usage?{RANGE}&bucket_width=1d&limit=1")
    assert other.status_code == 200 and other.json()["data"][0]["results"] == []
    assert stranger.call("GET", f"/v1/usage/sessions?{RANGE}").json()["data"] == []
    unknown = f"/v1/admin/tenants/{uuid.uuid4()}/usage?{RANGE}"
    assert owner.call("GET", unknown).status_code == 404


def test_a_session_counts_while_it_lives_and_after(owner):
    customer = Customer(owner)
    key = owner.key(customer.tenant, tags=["of the key"])
    start = datetime.now(UTC).strftime("start_time=%Y-%m-%dT00:00:00Z")

    def used() -> dict:
        return total(customer.all(f"{start}&key_id={key['id']}"))

    with ListenSession(owner.server, LINEAR16 | {"tag": "said"}, key=key["key"]) as session:
        for _ in range(12):
            session.send(bytes(32_000))
        wait_until(lambda: used().get("sessions") == 1, 20, "it counts while it lives")
        session.finish()
    wait_until(lambda: used().get("audio_ms") == 12_000, 20, "all of it is there")
    (one,) = wait_until(
        lambda: [one for one in customer.all(start, sessions=True) if one["is_final"]], 20, "it is known to be over")
    assert one["session_id"] == session.request_id and one["audio_ms"] == 12_000 and one["segments"] == 1
    assert {"said", "of the key"} == set(one["tags"]) and one["connected_ms"] > 0
    assert total(customer.all(f"{start}&bucket_width=1h"))["audio_ms"] == 12_000


def test_what_is_used_now_is_there_at_once(customer):
    now = datetime.now(UTC)
    start = (now - timedelta(minutes=3)).replace(second=0, microsecond=0)
    ingest(customer.database, speak(customer.tenant, 7, start, 2, tags=["now"]))
    for width in ("1m", "1h", "1d", "1mo"):
        begin = (start - timedelta(minutes=start.minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
        buckets = customer.all(f"start_time={begin}&bucket_width={width}&tag=now")
        assert total(buckets) == {"audio_ms": 60_000, "connected_ms": 120_000, "engine_ms": 62_000, "sessions": 1}, width
