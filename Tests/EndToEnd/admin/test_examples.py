"""The examples of openapi.yaml: requests are sent as they are written, and every answer is one that it describes."""

import uuid
from collections.abc import Iterator

import pytest

import speech
from contract import about, check, document, examples_of, operation, operations, resolved
from listen import ListenSession
from operators import Operator
from processes import wait_until
from subjects import billed, priced

ADMIN = [one for one in operations() if one.roles]


@pytest.fixture(scope="module")
def owner(speech_server) -> Operator:
    """Of a server with the engines that examples name."""
    return Operator.owner(speech_server)


@pytest.fixture
def names(owner, one) -> Iterator[dict[str, str]]:
    """Things of a test's own that paths may name."""
    tenant = owner.tenant()
    token = owner.made("/v1/admin/tokens", {"name": "a test's", "role": "viewer"})
    node = owner.call("GET", "/v1/admin/nodes").json()["data"][0]["name"]
    names = {"tenant_id": tenant, "key_id": owner.key(tenant)["id"], "token_id": token["id"], "node": node}
    if "/plans" in one.path:
        names |= priced(owner, tenant)
    with billed(owner, one, tenant) as more:
        yield names | more


REQUESTS = [
    pytest.param(one, body, id=f"{one.id}-{index}")
    for one in ADMIN
    # A session must be live for these, and a node that is drained is of no use to other tests; see below.
    if "{session_id}" not in one.path and one.id != "drainNode"
    for index, body in enumerate(one.request_examples())
]
CHANGES = [request for request in REQUESTS if request.values[0].method != "GET"]


@pytest.mark.parametrize("one, body", REQUESTS)
def test_an_example_is_accepted(owner, names, one, body):
    answer = owner.perform(one, body, **names)
    assert answer.ok, answer.text
    one.check(answer)


@pytest.mark.parametrize("one, body", CHANGES)
def test_an_example_may_be_sent_twice(owner, names, one, body):
    """The answer of the first call, but for its secret."""
    path, body = one.path.format(**names), about(body, names)
    name = str(uuid.uuid4())
    first, second = (owner.call(one.method, path, body, Idempotency_Key=name) for _ in range(2))
    one.check(second)
    assert second.status_code == first.status_code
    assert second.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    if not first.content:
        return
    said, again = first.json(), second.json()
    if said.pop("key", None) or said.pop("token", None):
        assert again.pop("code") == "secret_shown_once"
    assert again == said


def test_what_is_said_of_a_live_session(owner, speech_server):
    key = owner.key(tenant := owner.tenant())
    with ListenSession(speech_server, key=key["key"]) as session:
        listed = operation("listTenantSessions")
        wait_until(lambda: owner.perform(listed, tenant_id=tenant).json()["data"], 10, "it has its slot")
        names = {"tenant_id": tenant, "session_id": session.request_id}
        for name, status in (
            ("listTenantSessions", 200),
            ("getTenantSession", 200),
            ("getAnySession", 200),
            ("terminateTenantSession", 202),
        ):
            answer = owner.perform(operation(name), **names)
            assert answer.status_code == status, answer.text
            operation(name).check(answer)
            check_session(answer, session)


def check_session(answer, session: ListenSession) -> None:
    said = answer.json()
    (said,) = said.get("data", [said])
    assert said["id"] == session.request_id and said["state"] == "active"


def test_what_a_tenant_is_told_of_its_own_session(owner, speech_server):
    key = owner.key(owner.tenant())["key"]
    holder = Operator(speech_server, key)
    with ListenSession(speech_server, key=key) as session:
        wait_until(lambda: holder.perform(operation("listSessions")).json()["data"], 10, "it has its slot")
        for name, status in (("listSessions", 200), ("getSession", 200), ("terminateSession", 202)):
            answer = holder.perform(operation(name), session_id=session.request_id)
            assert answer.status_code == status, answer.text
            operation(name).check(answer)
            check_session(answer, session)
        wait_until(lambda: holder.call("GET", "/v1/sessions?status=live").json()["data"] == [], 30, "it has ended")
    for name, status in (("getSession", 200), ("terminateSession", 409)):
        answer = holder.perform(operation(name), session_id=session.request_id)
        assert answer.status_code == status, (name, answer.text)
        operation(name).check(answer)


def test_what_a_tenant_is_told_of_its_own_transcript(owner, speech_server):
    key = owner.key(owner.tenant())["key"]
    holder = Operator(speech_server, key)
    with ListenSession(speech_server, key=key) as session:
        session.send(speech.joined("goforward.wav", 1.5).tobytes())
        session.finish()
    for name, status in (
        ("listTranscripts", 200),
        ("getTranscript", 200),
        # Only a bucket has addresses of its own.
        ("downloadTranscript", 409),
        ("deleteTranscript", 204),
        ("getTranscript", 404),
        ("downloadTranscript", 404),
        ("deleteTranscript", 404),
    ):
        answer = holder.perform(operation(name), session_id=session.request_id)
        assert answer.status_code == status, (name, answer.text)
        operation(name).check(answer)


def test_what_an_operator_is_told_of_a_past_session_and_its_transcript(owner, speech_server):
    tenant = owner.tenant()
    with ListenSession(speech_server, key=owner.key(tenant)["key"]) as session:
        session.send(speech.joined("goforward.wav", 1.5).tobytes())
        session.finish()
    listed = operation("listAllSessions")
    path = f"{listed.path}?tenant_id={tenant}&status=past"
    wait_until(lambda: owner.call("GET", path).json()["data"], 10, "it is among the past ones")
    listed.check(owner.call("GET", path))
    names = {"tenant_id": tenant, "session_id": session.request_id}
    for name, status in (
        ("listTenantSessions", 200),
        ("getTenantSession", 200),
        ("getAnySession", 200),
        ("terminateTenantSession", 409),
        ("listTenantTranscripts", 200),
        ("getTenantTranscript", 200),
        # Only a bucket has addresses of its own.
        ("downloadTenantTranscript", 409),
        ("deleteTenantTranscript", 204),
        ("getTenantTranscript", 404),
        ("downloadTenantTranscript", 404),
        ("deleteTenantTranscript", 404),
    ):
        answer = owner.perform(operation(name), **names)
        assert answer.status_code == status, (name, answer.text)
        operation(name).check(answer)


def test_a_node_that_is_not_there_is_not_drained(owner):
    answer = owner.perform(operation("drainNode"))
    assert answer.status_code == 404
    operation("drainNode").check(answer)


def contents():
    """Every body that the document shows or describes."""
    for one in operations():
        for kind, content in one.node.get("requestBody", {}).get("content", {}).items():
            yield f"{one.id} request", kind, content
        for status, response in one.node["responses"].items():
            for kind, content in resolved(response).get("content", {}).items():
                yield f"{one.id} {status}", kind, content


def test_the_documents_examples_are_what_its_schemas_say():
    checked = 0
    for place, _, content in contents():
        for example in examples_of(content):
            check(example, content["schema"], place)
            checked += 1
    assert checked > 100


def test_every_body_of_the_admin_plane_has_an_example():
    operators = {one.id for one in ADMIN}
    without = [
        place for place, _, content in contents() if place.split()[0] in operators and not examples_of(content)
    ]
    assert without == []


def test_every_request_says_that_it_has_no_other_fields():
    for one in ADMIN:
        for content in one.node.get("requestBody", {}).get("content", {}).values():
            assert resolved(content["schema"])["additionalProperties"] is False, one.id


def test_every_tag_and_schema_is_used():
    text = str(document())
    for kind in ("schemas", "parameters", "headers", "responses", "links"):
        for name in document()["components"][kind]:
            assert f"'#/components/{kind}/{name}'" in text, name
    assert {tag["name"] for tag in document()["tags"]} == {tag for one in operations() for tag in one.node["tags"]}
