"""What an operator asks one node to have another one do, whichever store counts: it goes by the feed."""

import pytest
from requests import Response

from contract import operation
from fleet import check_quiet, said, wait_for_state, wait_until_known
from listen import ListenSession, handshake, live, refusal, token
from operators import Operator
from processes import wait_until
from revoked_keys import ProxiedNodes

pytestmark = [
    pytest.mark.parametrize("aws", ["ministack"], indirect=True),
    pytest.mark.parametrize("connections", ["dynamodb", "postgres"]),
]

SECOND = bytes(32_000)
DRAIN_DEADLINE = 2


@pytest.fixture
def operator(fleet, state, bucket) -> Operator:
    """Of the first of two nodes."""
    secret = fleet.admin_token()
    for name in ("one", "two"):
        fleet.start(name, HANSARD_DRAIN_DEADLINE=f"{DRAIN_DEADLINE}s")
    return Operator(fleet.nodes[0], secret)


def speaking(node, key: str | None = None) -> ListenSession:
    return live([node], key)[0]


def go_on(session: ListenSession) -> None:
    """It is heard still."""
    before = len(session.messages("Results"))
    session.send(SECOND)
    wait_until(lambda: len(session.messages("Results")) > before, 20, "what is said now is heard")


def command(operator: Operator, name: str, node, **headers: str) -> Response:
    one = operation(name)
    answer = operator.call(one.method, one.path.format(node=node.settings["HANSARD_NODE"]), **headers)
    assert answer.status_code == 202, answer.text
    one.check(answer)
    return answer


def are_draining(operator: Operator) -> dict[str, bool]:
    answer = operator.perform(operation("listNodes"))
    operation("listNodes").check(answer)
    return {one["name"]: one["is_draining"] for one in answer.json()["data"]}


def status_of(node) -> int:
    return handshake(node, headers=token(node.key)).status


def test_a_node_is_drained_by_a_call_to_another(operator, fleet, state):
    one, two = fleet.nodes
    here, there = speaking(one), speaking(two)
    command(operator, "drainNode", two)
    wait_until(lambda: status_of(two) == 503, 10, "it has heard of it")
    assert refusal(handshake(two, headers=token(two.key)), 503)["err_msg"] == "this node is restarting"
    assert two.get("/readyz").status_code == 503
    assert status_of(one) == 101 and one.get("/readyz").status_code == 200
    wait_until(lambda: are_draining(operator) == {"one": False, "two": True}, 10, "everybody can see it")
    # What it has goes on until it ends by itself.
    for session in (here, there):
        go_on(session)
        session.finish()
        wait_for_state(fleet, state, session.request_id, "completed")
    command(operator, "undrainNode", two)
    wait_until(lambda: status_of(two) == 101, 10, "it is back")
    wait_until(lambda: are_draining(operator) == {"one": False, "two": False}, 10, "everybody can see it")
    speaking(two).finish()
    check_quiet(fleet, state)


def test_a_drained_node_that_stops(operator, fleet, state):
    """Who is still there after the deadline is told to come again, and is admitted elsewhere."""
    one, two = fleet.nodes
    here, there = speaking(one), speaking(two)
    command(operator, "drainNode", two, Idempotency_Key="a-drain")
    wait_until(lambda: status_of(two) == 503, 10, "it has heard of it")
    assert two.stop() == 0
    assert there.wait_closed(10) == (1012, "node restarting")
    assert there.kinds()[-1] == "Metadata"
    wait_for_state(fleet, state, there.request_id, "interrupted")
    wait_until(lambda: list(are_draining(operator)) == ["one"], 20, "it is gone")
    assert operator.perform(operation("drainNode"), node="two").status_code == 404
    # Whoever missed the first answer gets it all the same.
    assert command(operator, "drainNode", two, Idempotency_Key="a-drain").headers["Idempotent-Replayed"] == "true"
    go_on(here)
    here.finish()
    speaking(one).finish()
    # A new life knows nothing of it.
    two.start()
    assert status_of(two) == 101
    check_quiet(fleet, state)


def test_a_session_is_ended_by_a_call_to_another_node(operator, fleet, state):
    one, two = fleet.nodes
    tenant = operator.tenant()
    key = operator.key(tenant)["key"]
    wait_until_known(key, fleet.nodes)
    ended_by_operator, ended_by_tenant, neighbour = (speaking(two, key) for _ in range(3))
    holder = Operator(one, key)
    for caller, name, session in (
        (operator, "terminateTenantSession", ended_by_operator),
        (holder, "terminateSession", ended_by_tenant),
    ):
        names = {"tenant_id": tenant, "session_id": session.request_id}
        answer = caller.perform(operation(name), **names)
        assert answer.status_code == 202, answer.text
        operation(name).check(answer)
        assert session.wait_closed(10) == (1008, "terminated by operator")
        assert session.kinds()[-1] == "Metadata"
        wait_until(lambda: holder.perform(operation("getSession"), **names).json()["state"] == "terminated", 10, "it ended")
        transcript = holder.call("GET", f"/v1/transcripts/{session.request_id}").json()
        assert transcript["audio_ms"] == 1_000 and not transcript["complete"]
        assert caller.perform(operation(name), **names).status_code == 409
    go_on(neighbour)
    neighbour.finish()
    wait_until(lambda: state.counter(tenant) == 0, 20, "no slot is held")
    assert not said(one) and not said(two)


def test_a_node_that_is_not_told_looks(operator, fleet, founding):
    with ProxiedNodes(fleet, founding.cluster.folder) as proxied:
        deaf, _ = proxied.start("deaf", hears=False)
        session = speaking(deaf)
        command(operator, "drainNode", deaf)
        wait_until(lambda: status_of(deaf) == 503, 10, "it has looked")
        names = {"tenant_id": fleet.tenant, "session_id": session.request_id}
        assert operator.perform(operation("terminateTenantSession"), **names).status_code == 202
        assert session.wait_closed(10) == (1008, "terminated by operator")
