"""500 sessions a second over 10 tenants on one node: whether it claims and releases a slot for each, how long its event
loops stall meanwhile, and what it costs. Against a DynamoDB that only answers (Tests/StandIns/dynamodb.c), at once and
after the time that AWS takes."""

import base64
import contextlib
import hashlib
import re
import secrets
import signal
import statistics
import subprocess
import time
import urllib.parse
import zlib
from dataclasses import dataclass
from pathlib import Path

from aws_emulators import AccessKey, aws_environment
from cluster import running_cluster
from fleet import Fleet, Founding, Node
from listen import LINEAR16
from places import RELEASE_BINARY, STAND_INS
from processes import cpu_seconds
from server import free_port

RATE, SECONDS, TENANTS = 500, 12, 10
QUIET_SECONDS = 4
DELAYS_MS = [0, 10, 20]
# What a busy machine may cost.
MOST_DONE = 0.9
PATH = "/v1/listen?" + urllib.parse.urlencode(LINEAR16)
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number: int, length: int) -> str:
    return "".join(DIGITS[number // 62**place % 62] for place in reversed(range(length)))


def add_tenant(fleet: Fleet) -> str:
    """Returns its key."""
    head = "hsk_test_" + base62(secrets.randbits(256), 43)
    key = head + base62(zlib.crc32(head.encode()), 6)
    digest = hashlib.sha256(key.encode()).hexdigest()
    fleet.database.query(
        f"""
        WITH tenant AS (
            INSERT INTO tenants (tenant_id, name, status, limit_version, created_at)
            VALUES (gen_random_uuid(), 'one of many', 'active', 1, now()) RETURNING tenant_id
        )
        INSERT INTO api_keys (key_id, tenant_id, digest, name, scopes, display_prefix, display_suffix, is_enabled,
            family, created_at)
        SELECT 'key_{base62(secrets.randbits(128), 22)}', tenant_id, '\\x{digest}', 'load', '{{listen}}', '', '', true,
            'load', now()
        FROM tenant RETURNING 1
        """
    )
    return key


@contextlib.contextmanager
def dynamodb(delay_ms: int):
    """Gives its address, and afterwards what it counted."""
    port, said = free_port(), {}
    process = subprocess.Popen(
        [STAND_INS / "dynamodb", str(port), str(delay_ms)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "listening\n"
        yield f"http://127.0.0.1:{port}", said
    finally:
        process.send_signal(signal.SIGTERM)
        said |= numbers(process.communicate(timeout=10)[0])
        assert process.returncode == 0


def waited_for_cores(pid: int) -> dict[str, float]:
    """How many seconds each thread was ready to run and had no core
    (https://docs.kernel.org/scheduler/sched-stats.html, /proc/<pid>/schedstat)."""
    waited = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            waited[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return waited


def numbers(text: str) -> dict[str, float]:
    """`name number name number`."""
    words = text.split()
    return dict(zip(words[::2], map(float, words[1::2])))


class Scrapes:
    """What a node says of itself each second; reading the stall begins a new one. A loop that waits for a core stalls
    too, whoever has the core, so that waiting is read besides."""

    def __init__(self, node: Node):
        self.node = node
        self.stalls: list[float] = []
        self.waits: list[float] = []
        self.waited: dict[str, float] = {}
        self.read()
        self.stalls.clear()
        self.waits.clear()

    def read(self) -> None:
        self.page = self.node.metrics()
        self.stalls.append(self.value("hansard_loop_stall_seconds"))
        waited = waited_for_cores(self.node.pid)
        self.waits.append(max(seconds - self.waited.get(thread, 0) for thread, seconds in waited.items()))
        self.waited = waited

    def value(self, name: str) -> float:
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.page, re.MULTILINE)[1])

    def each_second(self, goes_on) -> None:
        while goes_on():
            time.sleep(1)
            self.read()


@dataclass
class Outcome:
    """What a load came to."""

    sessions: dict[str, float]
    paces: dict[str, float]
    times: dict[str, tuple[float, float]]
    stalls: list[float]
    waits: list[float]
    quiet_stalls: list[float]
    claims: float
    claim_ms: float
    cpu_us: float
    client_cpu_us: float


def measure(node: Node, keys: list[str]) -> Outcome:
    run_sessions(node, keys, RATE / 5, 2).communicate()
    quiet = Scrapes(node)
    end = time.monotonic() + QUIET_SECONDS
    quiet.each_second(lambda: time.monotonic() < end)
    scrapes = Scrapes(node)
    before = {name: scrapes.value(name) for name in ("hansard_sessions_started_total", "hansard_claim_seconds_sum")}
    cpu = cpu_seconds(node.pid)
    load = run_sessions(node, keys, RATE, SECONDS)
    # The load says all it says at its end, which the pipe holds.
    client_cpu = 0.0

    def goes_on() -> bool:
        nonlocal client_cpu
        if load.poll() is not None:
            return False
        with contextlib.suppress(AssertionError):
            client_cpu = cpu_seconds(load.pid)
        return True

    scrapes.each_second(goes_on)
    used = cpu_seconds(node.pid) - cpu
    lines = load.communicate()[0].splitlines()
    assert load.returncode == 0, lines
    claims = scrapes.value("hansard_sessions_started_total") - before["hansard_sessions_started_total"]
    claimed = scrapes.value("hansard_claim_seconds_sum") - before["hansard_claim_seconds_sum"]
    return Outcome(
        sessions=numbers(lines[0]),
        paces=numbers(lines[1]),
        times={name: (float(middle), float(late)) for name, middle, late in map(str.split, lines[2:])},
        stalls=scrapes.stalls,
        waits=scrapes.waits,
        quiet_stalls=quiet.stalls,
        claims=claims,
        claim_ms=claimed / max(1, claims) * 1e3,
        cpu_us=used / max(1, claims) * 1e6,
        client_cpu_us=client_cpu / max(1, claims) * 1e6,
    )


def run_sessions(node: Node, keys: list[str], rate: float, seconds: float) -> subprocess.Popen:
    command = [STAND_INS / "sessions", node.port, PATH, rate, seconds, *keys]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def report(delay_ms: int, outcome: Outcome, said: dict[str, float]) -> None:
    sessions, paces = outcome.sessions, outcome.paces
    done, begun = int(sessions["done"]), int(sessions["begun"])
    calls = said["transactions"] / said["sessions"]
    (open_ms, late_open_ms), (close_ms, late_close_ms) = outcome.times["open_ms"], outcome.times["close_ms"]
    print(f"DynamoDB answers after {delay_ms} ms")
    print(f"  sessions begun: {begun} in {SECONDS} s, none more than {paces['latest_ms']:.0f} ms late")
    print(f"  claimed, released and closed with 1000: {done}, the last {paces['seconds']:.1f} s after the first began; "
          f"{paces['most_open']:.0f} open at once")
    if done < begun:
        print(f"  {sessions}")
    print(f"  transactions per session: {calls:.2f}; connections to DynamoDB: {said['connections']:.0f}")
    print(f"  mean claim {outcome.claim_ms:.1f} ms; median (99 %) until the 101 {open_ms:.1f} ({late_open_ms:.1f}) ms, "
          f"until the close {close_ms:.1f} ({late_close_ms:.1f}) ms")
    print(f"  event loops' longest stall: {max(outcome.stalls) * 1e3:.1f} ms, median of the seconds' longest "
          f"{statistics.median(outcome.stalls) * 1e3:.1f} ms; without load {max(outcome.quiet_stalls) * 1e3:.1f} ms")
    print(f"    in each second:             {milliseconds(outcome.stalls)}")
    print(f"    a thread waited for a core: {milliseconds(outcome.waits)}")
    print(f"  CPU per session: {outcome.cpu_us:.0f} us; its client's {outcome.client_cpu_us:.0f} us")


def milliseconds(seconds: list[float]) -> str:
    return " ".join(f"{one * 1e3:6.1f}" for one in seconds)


def main() -> None:
    print(f"{RATE} claims a second over {TENANTS} tenants on one node, and as many releases")
    for delay_ms in DELAYS_MS:
        with dynamodb(delay_ms) as (url, said), running_cluster() as postgres:
            settings = aws_environment(url, AccessKey("AKIAIOSFODNN7EXAMPLE", base64.b64encode(bytes(30)).decode()))
            with Fleet(
                Founding(postgres, RELEASE_BINARY), HANSARD_CONNECTIONS="dynamodb", HANSARD_DYNAMODB_TABLE="hansard", **settings
            ) as fleet:
                keys = [add_tenant(fleet) for _ in range(TENANTS)]
                node = fleet.start("one")
                outcome = measure(node, keys)
                all_sessions = Scrapes(node).value("hansard_sessions_started_total")
        report(delay_ms, outcome, said | {"sessions": all_sessions})
        # Of sessions that were refused the times say nothing.
        if outcome.sessions["done"] < outcome.sessions["begun"] * MOST_DONE:
            raise SystemExit("the node did not keep up, or its DynamoDB does not answer as it should")
    print()


if __name__ == "__main__":
    main()
