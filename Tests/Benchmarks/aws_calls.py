"""How many calls of DynamoDB a claim and a release are, and how many bytes: counted by a proxy before ministack, on
plain HTTP. Claims that wait for their turn go together."""

import json
import threading
from dataclasses import dataclass, field

from aws_emulators import Ministack
from aws_proxy import Exchange, FaultyAWS, Request, Response
from aws_state import Table, make_table
from cluster import running_cluster
from fleet import Fleet, Founding, Node, check_quiet
from listen import ListenSession
from places import RELEASE_BINARY

TABLE = "hansard-state"
ONE_AT_A_TIME = 20
CROWDS = [10, 25]
# The first claim of a crowd is held up for at most this long while the others come; the node gives up after 2 s.
HELD_SECONDS = 1.5


@dataclass
class Tally:
    """Calls for one purpose."""

    calls: int = 0
    done: int = 0
    sent: int = 0
    received: int = 0

    def line(self, name: str) -> str:
        each = max(1, self.done)
        return (
            f"{name:<36} {self.done:5} {self.calls:6} {self.calls / each:8.2f} {self.sent / each:12,.0f} "
            f"{self.received / each:14,.0f}"
        )


@dataclass
class Counts:
    """Counts what passes the proxy for a tenant, and can hold up claims."""

    tenant: str
    claims: Tally = field(default_factory=Tally)
    releases: Tally = field(default_factory=Tally)
    others: Tally = field(default_factory=Tally)
    may_claim: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.may_claim.set()
        self._lock = threading.Lock()

    def pass_on(self, exchange: Exchange) -> Response:
        request = exchange.request
        if self.tenant.encode() not in request.body:
            # The node's own life: heartbeats, looks at its peers.
            return exchange.forward()
        writes = json.loads(request.body).get("TransactItems", []) if request.operation == "TransactWriteItems" else []
        put = [write["Put"]["Item"] for write in writes if "Put" in write]
        leases = sum("node_epoch" in item for item in put)
        ends = sum(item["sk"] == {"S": "STATUS"} for item in put)
        if leases:
            self.may_claim.wait(HELD_SECONDS)
        response = exchange.forward()
        with self._lock:
            tally = self.claims if leases else self.releases if ends else self.others
            tally.calls += 1
            tally.done += (leases or ends) if response.status == 200 else 0
            tally.sent += request_size(request)
            tally.received += response_size(response)
        return response


def request_size(request: Request) -> int:
    return len(f"{request.method} {request.target} HTTP/1.1\r\n") + fields_size(request.headers) + len(request.body)


def response_size(response: Response) -> int:
    return len("HTTP/1.1 200 OK\r\n") + fields_size(response.headers) + len(response.body)


def fields_size(headers: tuple[tuple[str, str], ...]) -> int:
    return sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers) + len("\r\n")


def end(session: ListenSession) -> None:
    session.close_stream()
    code, reason = session.wait_closed()
    assert code == 1000, (code, reason)


def one_at_a_time(node: Node, count: int) -> None:
    for _ in range(count):
        with ListenSession(node) as session:
            end(session)


def crowd(node: Node, counts: Counts, size: int) -> None:
    """One session whose claim is held up, and behind it so many that wait together."""
    counts.may_claim.clear()
    sessions: list[ListenSession] = []
    try:
        for _ in range(size + 1):
            sessions.append(ListenSession(node))
    finally:
        counts.may_claim.set()
    for session in sessions:
        session.close_stream()
    for session in sessions:
        assert session.wait_closed()[0] == 1000
        session.__exit__()


def counted(proxy: FaultyAWS, fleet: Fleet, table: Table, run) -> Counts:
    counts = Counts(fleet.tenant)
    rule = proxy.fault(counts.pass_on)
    run(counts)
    check_quiet(fleet, table)
    proxy.clear(rule)
    return counts


def main() -> None:
    with Ministack() as aws, FaultyAWS(aws.url) as proxy, running_cluster() as postgres:
        table = make_table(aws.client("dynamodb"), TABLE)
        settings = aws.environment(aws.root) | {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url}
        with Fleet(
            Founding(postgres, RELEASE_BINARY), HANSARD_CONNECTIONS="dynamodb", HANSARD_DYNAMODB_TABLE=TABLE, **settings
        ) as fleet:
            node = fleet.start("one")
            first = counted(proxy, fleet, table, lambda _: one_at_a_time(node, 1))
            single = counted(proxy, fleet, table, lambda _: one_at_a_time(node, ONE_AT_A_TIME))
            crowds = [(size, counted(proxy, fleet, table, lambda counts: crowd(node, counts, size))) for size in CROWDS]
    print("Calls of DynamoDB, and bytes of HTTP with a key without token, of each claim and release")
    print(f"{'':<36} {'done':>5} {'calls':>6} {'each':>8} {'bytes sent':>12} {'bytes received':>14}")
    print(first.claims.line("claim, a tenant's first ever"))
    print(single.claims.line("claim, one at a time"))
    print(single.releases.line("release, one at a time"))
    for size, counts in crowds:
        print(counts.claims.line(f"claim, 1 and then {size} that wait"))
        print(counts.releases.line("  their releases"))
    others = sum(counts.others.calls for counts in (first, single, *(counts for _, counts in crowds)))
    print(f"other calls for the tenant (its counter read before the first batch): {others}")
    print()


if __name__ == "__main__":
    main()
