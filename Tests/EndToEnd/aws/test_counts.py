"""Limits are exact over nodes, through the death of one and through answers that are lost; whichever store counts."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import InvalidStatus

import aws_faults
import postgres_proxy as postgres_faults
import speech
from fleet import check_quiet, state_of, wait_for_state
from listen import LINEAR16, ListenSession
from processes import wait_until

pytestmark = [
    pytest.mark.parametrize("aws", ["ministack"], indirect=True),
    pytest.mark.parametrize("connections", ["dynamodb", "postgres"]),
]

# A dead node is found after 8 s without a heartbeat; see docs/architecture.md.
REAPED_SECONDS = 15
ROUND_SECONDS = 60


class Crowd:
    """Many sessions at once, by threads; those that are admitted stay open."""

    def __init__(self, nodes: list, count: int):
        self.admitted: list[tuple[object, ListenSession]] = []
        self.refused: list[str] = []
        self._lock = threading.Lock()
        threads = [threading.Thread(target=self._open, args=(nodes[n % len(nodes)],)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

    def _open(self, node) -> None:
        try:
            session = ListenSession(node, LINEAR16 | {"interim_results": "true"})
            session.send(speech.pcm("goforward.wav"))
            session.wait_for(lambda message: message["type"] == "Results")
        except Exception as failure:
            with self._lock:
                self.refused.append(str(failure))
            return
        with self._lock:
            self.admitted.append((node, session))

    def close(self) -> None:
        for _, session in self.admitted:
            session.__exit__()


def test_a_limit_over_three_nodes_and_the_death_of_one(fleet, state, bucket):
    fleet.limit_sessions(50)
    nodes = [fleet.start(name) for name in ("one", "two", "three")]
    crowd = Crowd(nodes, 200)
    assert len(crowd.admitted) == state.counter(fleet.tenant) == len(state.leases(fleet.tenant)) == 50
    assert len(crowd.refused) == 150
    # Any of them may have won none of the slots.
    doomed = Counter(node for node, _ in crowd.admitted).most_common(1)[0][0]
    survivors = [session for node, session in crowd.admitted if node is not doomed]
    killed = time.monotonic()
    doomed.kill_at_once()
    wait_until(lambda: state.counter(fleet.tenant) == len(survivors), REAPED_SECONDS, "its slots are free")
    print(f"{50 - len(survivors)} slots of a killed node were free after {time.monotonic() - killed:.1f} s")
    assert len(state.leases(fleet.tenant)) == len(survivors)
    for session in survivors:
        assert state_of(fleet, state, session.request_id) == "active"
        session.finish()
    for node, session in crowd.admitted:
        ended = "interrupted" if node is doomed else "completed"
        wait_for_state(fleet, state, session.request_id, ended)
    check_quiet(fleet, state)
    crowd.close()


def trouble_dynamodb(proxy) -> None:
    chance, lock = random.Random(20), threading.Lock()

    def one_in(number: int):
        def condition(request) -> bool:
            with lock:
                return request.operation == "TransactWriteItems" and chance.randrange(number) == 0

        return condition

    proxy.fault(aws_faults.lose_reply, one_in(10))
    proxy.fault(aws_faults.lose_request, one_in(20))
    proxy.fault(aws_faults.late_request(5), one_in(50))
    proxy.fault(aws_faults.transaction_conflict, one_in(20))


def trouble_postgres(proxy) -> None:
    chance = random.Random(20)
    counting = postgres_faults.holding("claim_lease(", "release_lease(")
    faults = {
        postgres_faults.lose_reply: 10,
        postgres_faults.lose_request: 20,
        postgres_faults.late_request(5): 50,
        postgres_faults.hang_after_commit(5): 50,
    }
    for fault, number in faults.items():
        proxy.fault(fault, postgres_faults.one_in(number, chance, counting))


@pytest.mark.parametrize("rounds", [100, pytest.param(1_000, marks=pytest.mark.long)])
def test_rounds_with_lost_answers(fleet, state, bucket, connections, dynamodb_proxy, postgres_proxy, rounds):
    """What is lost: requests, answers, time; and some are done long after the client has given up."""
    node = fleet.start("one", HANSARD_DATABASE_POOL="30")
    if connections == "dynamodb":
        trouble_dynamodb(dynamodb_proxy)
    else:
        trouble_postgres(postgres_proxy)

    def one_round() -> int:
        """How it was closed; a node that has just failed to reach the store refuses for a moment, as it should."""
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            try:
                with ListenSession(node) as session:
                    session.send(bytes(3_200))
                    session.close_stream()
                    return session.wait_closed()[0]
            except InvalidStatus as refusal:
                assert refusal.response.status_code == 503
                time.sleep(0.1)
        raise AssertionError(f"refused for {ROUND_SECONDS} s")

    with ThreadPoolExecutor(10) as threads:
        closed = list(threads.map(lambda _: one_round(), range(rounds)))
    assert set(closed) <= {1000, 1013} and closed.count(1000) > rounds / 2, Counter(closed)
    dynamodb_proxy.clear()
    postgres_proxy.clear()
    assert state.counter(fleet.tenant) >= 0
    check_quiet(fleet, state, 60)
    # What comes late finds that it is over.
    time.sleep(6)
    assert state.counter(fleet.tenant) == len(state.leases(fleet.tenant)) == 0
