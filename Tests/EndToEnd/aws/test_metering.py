"""Usage is counted exactly once, whatever crashes and is away meanwhile, and in the month in which it was spent."""

import contextlib
import json
import random
import re
import shutil
import threading
import time
import urllib.parse
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cluster import running_cluster
from fleet import Fleet, Founding, hansard, metric
from listen import SAMPLE_BYTES_PER_SECOND, ListenSession
from operators import Operator
from places import STAND_INS
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

CLOCK = STAND_INS / "clock.so"
BOUNDARY = datetime(2027, 1, 1, tzinfo=timezone.utc)
ENDED = "2026-12"
CLIENTS = 12
# So much faster than real time do clients speak: ten seconds of audio, after which a record is due, take half a second.
PACE = 20
# Postgres is away for as long as it is there.
TURN_SECONDS = 6
QUERIES = ["bucket_width=1d", "bucket_width=1h&limit=48&group_by=engine", "bucket_width=1mo&group_by=key_id"]
# How long the crowd goes on in the new month.
REST_SECONDS = 4


def where_a_month_ends(at: float) -> dict[str, str]:
    """An environment in which the month ends at this moment. Clocks that only measure go as ever."""
    shift = BOUNDARY.timestamp() - at
    return {"LD_PRELOAD": str(CLOCK), "CLOCK_SHIFT_SECONDS": f"{shift:.0f}", "TZ": "UTC"}


@dataclass(frozen=True)
class Spoken:
    """What a client knows of its session, in milliseconds of audio."""

    session: str
    sent: int
    # What results that it got prove to have been heard.
    heard: int
    # What `Metadata` said; None if the node was killed before.
    duration: int | None


class Crowd:
    """Clients that speak one session after the other, each to a node that is there: so many, and until a moment."""

    def __init__(self, nodes: list, key: str, sessions: int, until: float, seed: int):
        self.nodes, self.key, self.until = nodes, key, until
        self.spoken: list[Spoken] = []
        self._left = sessions
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _next(self) -> tuple[object, int] | None:
        with self._lock:
            if self._left <= 0 and time.time() > self.until:
                return None
            self._left -= 1
            # Not whole seconds, so that rounding shows.
            return self._random.choice(self.nodes), self._random.randrange(500, 60_000)

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            node, milliseconds = turn
            while not self._speak(node, milliseconds):
                time.sleep(0.2)
                with self._lock:
                    node = self._random.choice(self.nodes)

    def _speak(self, node, milliseconds: int) -> bool:
        """False if the node was not there."""
        try:
            session = ListenSession(node, key=self.key)
        except Exception:
            return False
        with contextlib.suppress(Exception):
            session.send(bytes(SAMPLE_BYTES_PER_SECOND * milliseconds // 1000 // 2 * 2), pace=PACE)
            session.close_stream()
        session.wait_closed(60)
        sent = round(session.audio_sent * 1000)
        ends = [one.message for one in session.received if one.message["type"] == "Results"]
        heard = max([int((end["start"] + end["duration"]) * 1000) for end in ends if end["is_final"]], default=0)
        durations = [one.message["duration"] for one in session.received if one.message["type"] == "Metadata"]
        duration = round(durations[0] * 1000) if durations else None
        with self._lock:
            self.spoken.append(Spoken(session.request_id, sent, heard, duration))
        return True


class Storm:
    """Kills nodes at random moments and takes Postgres away for half of the time."""

    def __init__(self, fleet: Fleet, cluster, kills: int, seed: int):
        self.fleet, self.cluster = fleet, cluster
        self.kills = kills
        self.spools: dict[str, list[Path]] = {node.settings["HANSARD_NODE"]: [] for node in fleet.nodes}
        self._random = random.Random(seed)
        self._turn_ends = time.monotonic() + TURN_SECONDS
        self._is_away = False
        self._dead: list = []

    def blow(self) -> None:
        """A moment of it."""
        time.sleep(self._random.uniform(0.5, 3))
        if time.monotonic() > self._turn_ends:
            self._turn_ends = time.monotonic() + TURN_SECONDS
            self.cluster.start() if self._is_away else self.cluster.stop()
            self._is_away = not self._is_away
        # A node reads tenants and keys when it starts: without Postgres it does not. One stays.
        if self.kills > 0 and len(self._dead) < len(self.fleet.nodes) - 1:
            self._kill(self._random.choice([node for node in self.fleet.nodes if node not in self._dead]))
        if not self._is_away:
            self._raise_the_dead()

    def end(self) -> None:
        if self._is_away:
            self.cluster.start()
            self._is_away = False
        self._raise_the_dead()

    def _kill(self, node) -> None:
        self.kills -= 1
        node.kill_at_once()
        copies = self.spools[node.settings["HANSARD_NODE"]]
        copy = node.folder / f"copy-{len(copies)}"
        shutil.copytree(node.state_dir / "spool", copy)
        copies.append(copy)
        self._dead.append(node)

    def _raise_the_dead(self) -> None:
        for node in self._dead:
            node.start()
        self._dead = []


def wait_until_delivered(nodes: list) -> None:
    for node in nodes:
        wait_until(lambda: metric(node, "hansard_usage_backlog") == 0, 60, "the ledger has what the node metered")
        wait_until(lambda: metric(node, "hansard_settlement_backlog") == 0, 60, "the stores have what sessions left")


def ledger(fleet: Fleet) -> dict[str, tuple[int, bool, int]]:
    """Of each session its audio in milliseconds, whether it is over, and of how many months it is."""
    rows = fleet.database.query(
        "SELECT session_id, sum(audio_ms), bool_and(is_final), count(DISTINCT period) FROM usage_segments GROUP BY 1"
    )
    return {str(session): (int(audio), is_final == "t", int(months)) for session, audio, is_final, months in rows}


def report(node, query: str) -> str:
    """What a customer is told, but for how fresh that is."""
    days = {"start_time": "2026-12-31T00:00:00Z", "end_time": "2027-01-02T00:00:00Z"}
    answer = node.get(f"/v1/usage?{urllib.parse.urlencode(days)}&{query}", node.key)
    assert answer.status_code == 200, answer.text
    return re.sub(r'"data_as_of":"[^"]*"', "", answer.text)


def reports(fleet: Fleet) -> list:
    """What is made from the ledger, once all of it is summed up."""
    fleet.database.query("SELECT roll_usage(100000)")
    tables = [
        fleet.database.query(f"SELECT * FROM {table} ORDER BY {table}::text")
        for table in ("usage_segments", "usage_marks", "usage_hourly", "usage_daily")
    ]
    return tables + [report(fleet.nodes[0], query) for query in QUERIES]


def replay(node, copies: list[Path]) -> None:
    """Starts the node with everything that its spool ever held when it was killed."""
    node.stop()
    spool = node.state_dir / "spool"
    number = 0
    for copy in copies:
        for file in sorted(copy.glob("*.spool")):
            number += 1
            shutil.copy(file, spool / f"{number:08}.spool")
    node.start()


def verify(fleet: Fleet, period: str):
    return hansard("usage", "verify", "--period", period, **fleet.settings)


def bill(fleet: Fleet) -> dict:
    """The invoice of the month that has ended."""
    owner = Operator(fleet.nodes[0], fleet.admin_token())
    plan = owner.plan(charges=[{"tiers": [{"up_to": 5, "unit_price": "0.0123"}, {"unit_price": "0.0045"}]}], increment_ms=1_000)
    owner.assigned(fleet.tenant, ENDED, plan_id=plan)
    path = f"/v1/admin/periods/{ENDED}/close"
    wait_until(lambda: owner.call("POST", path).status_code == 200, 60, "all lives of all nodes have told what they had")
    return owner.call("GET", f"/v1/admin/tenants/{fleet.tenant}/invoices/{ENDED}").json()


def check_bill(fleet: Fleet) -> None:
    """Sessions, ledger, sums and invoice lines agree, and if one row does not it is named."""
    invoice = bill(fleet)
    ((audio, sessions),) = fleet.database.query(
        f"SELECT sum(audio_ms), count(DISTINCT session_id) FROM usage_segments WHERE period = '{ENDED}-01'"
    )
    (line,) = invoice["lines"]
    assert (line["raw_ms"], line["sessions"]) == (int(audio), int(sessions))
    for period in (ENDED, f"{BOUNDARY:%Y-%m}"):
        done = verify(fleet, period)
        assert done.returncode == 0 and "agree" in done.stdout, done.stdout + done.stderr
    alter = f"UPDATE usage_segments SET audio_ms = audio_ms {{}} WHERE period = '{ENDED}-01' AND session_id = '{{}}'"
    ((session, *_), *_) = fleet.database.query(f"SELECT session_id FROM usage_segments WHERE period = '{ENDED}-01' LIMIT 1")
    fleet.database.query(alter.format("+ 1", session))
    done = verify(fleet, ENDED)
    assert done.returncode == 1 and session in done.stdout, done.stdout + done.stderr
    fleet.database.query(alter.format("- 1", session))
    assert verify(fleet, ENDED).returncode == 0


@pytest.mark.parametrize(
    ("sessions", "kills"), [(40, 4), pytest.param(200, 20, marks=pytest.mark.long, id="200 sessions")]
)
def test_every_millisecond_is_counted_once(stores, aws, table, bucket, node_key, sessions, kills):
    ends_at = time.time() + 15 + kills
    environment = where_a_month_ends(ends_at)
    with running_cluster(environment) as cluster, Fleet(
        Founding(cluster, environment=environment), **(aws.environment(node_key) | stores | environment | {"HANSARD_CLOSE_GRACE": "0s"})
    ) as fleet:
        nodes = [fleet.start(name) for name in ("one", "two", "three")]
        crowd = Crowd(nodes, fleet.key, sessions, until=ends_at + REST_SECONDS, seed=kills)
        storm = Storm(fleet, cluster, kills, seed=kills)
        while not crowd.is_over() or storm.kills > 0:
            storm.blow()
        storm.end()
        wait_until_delivered(nodes)

        known = ledger(fleet)
        ended = [one for one in crowd.spoken if one.duration is not None]
        killed = [one for one in crowd.spoken if one.duration is None]
        print(f"{len(ended)} sessions ended, {len(killed)} were killed, {sum(m > 1 for _, _, m in known.values())} are of two months")
        for one in ended:
            assert known[one.session][:2] == (one.duration, True), one
        for one in killed:
            audio, is_final, _ = known.get(one.session, (0, True, 0))
            assert one.heard <= audio <= one.sent and is_final, (one, audio)
        assert set(known) <= {one.session for one in crowd.spoken} and ended and killed
        assert {months for _, _, months in known.values()} == {1, 2}, "the month ended in the middle"
        differing = fleet.database.query(
            "SELECT session_id FROM usage_rows u FULL JOIN (SELECT session_id, sum(audio_ms) AS audio_ms, "
            "sum(connected_ms) AS connected_ms, sum(engine_ms) AS engine_ms FROM usage_segments GROUP BY 1) s "
            "USING (session_id) WHERE (u.audio_ms, u.connected_ms, u.engine_ms) "
            "IS DISTINCT FROM (s.audio_ms, s.connected_ms, s.engine_ms)"
        )
        assert differing == [], "what sessions say of themselves and what the ledger says"

        before = reports(fleet)
        days = json.loads(report(nodes[1], "bucket_width=1d").replace(",}", "}"))["data"]
        told = [sum(result["audio_ms"] for result in day["results"]) for day in days]
        assert len(told) == 2 and min(told) > 0 and sum(told) == sum(audio for audio, _, _ in known.values())
        assert sum(map(len, storm.spools.values())) == kills
        for _ in range(3):
            for node in nodes:
                replay(node, storm.spools[node.settings["HANSARD_NODE"]])
            wait_until_delivered(nodes)
        assert reports(fleet) == before
        check_bill(fleet)
