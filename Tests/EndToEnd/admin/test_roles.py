"""Who may call what: every role and every route, every scope and every route, and tokens that are limited to a tenant."""

import pytest
import requests
from websockets.exceptions import InvalidStatus

from contract import document, operation, operations
from listen import ListenSession
from operators import UNKNOWN, Operator

ADMIN = [one for one in operations() if one.roles]
TENANT = [one for one in operations() if one.scopes and one.id != "listen"]
ROLES = document()["components"]["schemas"]["Role"]["enum"]
SCOPES = document()["components"]["schemas"]["Scope"]["enum"]


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


@pytest.fixture(scope="module")
def by_role(owner) -> dict[str, Operator]:
    return {role: owner.with_role(role) for role in ROLES}


@pytest.fixture(scope="module")
def limited(owner) -> tuple[str, dict[str, Operator]]:
    """A tenant, and a token of each role that may know of it alone."""
    tenant = owner.tenant("the only one")
    return tenant, {role: owner.with_role(role, tenants=[tenant]) for role in ROLES}


def named(one) -> str:
    return one.id


def problem(answer: requests.Response) -> dict:
    """What is said, but for the call's own id."""
    said = answer.json()
    assert said.pop("request_id") == answer.headers["x-request-id"]
    return {**said, "status line": answer.status_code, "headers": sorted(answer.headers)}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("one", ADMIN, ids=named)
def test_a_role_may_do_what_the_document_says(owner, by_role, role, one):
    """On things of this test's own, so that what is allowed is also done."""
    tenant = owner.tenant()
    names = {"tenant_id": tenant, "key_id": owner.key(tenant)["id"]}
    if "{token_id}" in one.path:
        names["token_id"] = owner.made("/v1/admin/tokens", {"name": "to revoke", "role": "viewer"})["id"]
    body = {"name": "by role"} if one.id == "createTenant" else one.request_examples()[0]
    answer = by_role[role].perform(one, body, **names)
    one.check(answer)
    if role not in one.roles:
        assert answer.status_code == 403, answer.text
        return
    # Sessions and nodes are of things that are not there.
    expected = 404 if {"{session_id}", "{node}"} & set(one.path.split("/")) else 200
    assert answer.status_code // 100 == expected // 100, answer.text


@pytest.mark.parametrize("one", ADMIN, ids=named)
def test_what_a_role_may_not_do_is_on_record(owner, by_role, one):
    for role in set(ROLES) - set(one.roles):
        tenant = owner.tenant()
        refused = by_role[role].perform(one, one.request_examples()[0], tenant_id=tenant)
        path = "/v1/admin/audit?outcome=denied&limit=1"
        (entry,) = owner.call("GET", path).json()["data"]
        assert entry["request_id"] == refused.headers["x-request-id"]
        assert entry["action"] == f"{one.method} {one.path}"
        assert entry["tenant_id"] == (tenant if "{tenant_id}" in one.path else None)


@pytest.mark.parametrize("one", ADMIN, ids=named)
def test_nobody_else_may_do_anything(synthetic_server, one):
    """Without a token, with a tenant's key, with junk of the right and of the wrong form: before anything else is looked at."""
    for token in ("", synthetic_server.key, "hsa_" + "0" * 49, "junk", "hsa_" + "ü" * 49):
        answer = Operator(synthetic_server, token).perform(one, {"junk": 1})
        assert answer.status_code == 401, (token, answer.text)
        one.check(answer)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("one", [one for one in ADMIN if "{tenant_id}" in one.path], ids=named)
def test_a_limited_token_cannot_tell_another_tenant_from_none(owner, limited, role, one):
    other = owner.tenant("another")
    key = owner.key(other)["id"]
    token = limited[1][role]
    body = one.request_examples()[0]
    theirs = token.perform(one, body, tenant_id=other, key_id=key)
    nobodys = token.perform(one, body)
    malformed = token.perform(one, body, tenant_id="x", key_id="y")
    assert theirs.status_code == (404 if role in one.roles else 403), theirs.text
    assert problem(theirs) == problem(nobodys) == problem(malformed)
    assert len(theirs.content) == len(nobodys.content)
    one.check(theirs)


@pytest.mark.parametrize("one", [one for one in ADMIN if "{tenant_id}" in one.path], ids=named)
def test_a_limited_token_may_do_the_same_to_its_own_tenant(owner, limited, one):
    tenant, tokens = limited
    if one.id == "deleteTenant":
        pytest.skip("others need it")
    answer = tokens["operator"].perform(one, one.request_examples()[0], tenant_id=tenant, key_id=owner.key(tenant)["id"])
    assert answer.status_code == 404 if "{session_id}" in one.path else answer.ok, answer.text
    one.check(answer)
    if one.id == "suspendTenant":
        tokens["operator"].perform(operation("resumeTenant"), tenant_id=tenant)


def test_a_limited_token_sees_its_own_tenant_alone(owner, limited):
    tenant, tokens = limited
    owner.tenant("a third one")
    for token in tokens.values():
        listed = token.call("GET", "/v1/admin/tenants?limit=100").json()
        assert [one["id"] for one in listed["data"]] == [tenant] and not listed["has_more"]
    audit = tokens["viewer"].call("GET", "/v1/admin/audit?limit=100").json()["data"]
    assert audit and {entry["tenant_id"] for entry in audit} == {tenant}
    assert tokens["viewer"].call("GET", f"/v1/admin/audit?tenant_id={UNKNOWN['tenant_id']}").status_code == 404
    assert tokens["viewer"].call("GET", f"/v1/admin/audit/verify?tenant_id={tenant}").json()["is_intact"]
    assert tokens["viewer"].call("GET", "/v1/admin/audit/verify").status_code == 400


@pytest.mark.parametrize(
    "name", ["createTenant", "createToken", "listTokens", "revokeToken", "listNodes", "getNode", "drainNode"]
)
def test_a_limited_token_has_nothing_to_do_with_what_is_everybodys(limited, name):
    one = operation(name)
    answer = limited[1]["owner"].perform(one, one.request_examples()[0])
    assert answer.status_code == 403, answer.text
    one.check(answer)


# The tenant's own plane


@pytest.mark.parametrize("one", TENANT, ids=named)
def test_a_key_needs_the_scope_that_the_document_says(owner, synthetic_server, one):
    tenant = owner.tenant()
    for scope in SCOPES:
        holder = Operator(synthetic_server, owner.key(tenant, scopes=[scope])["key"])
        answer = holder.perform(one, one.request_examples()[0])
        one.check(answer)
        if scope in one.scopes:
            assert answer.status_code not in (401, 403), answer.text
        else:
            assert answer.status_code == 403, answer.text
    assert owner.perform(one).status_code == 401, "an admin token is no key"


def test_listening_needs_its_scope(owner, synthetic_server):
    (scope,) = operation("listen").scopes
    tenant = owner.tenant()
    with ListenSession(synthetic_server, key=owner.key(tenant, scopes=[scope])["key"]):
        pass
    with pytest.raises(InvalidStatus) as refused:
        ListenSession(synthetic_server, key=owner.key(tenant, scopes=[one for one in SCOPES if one != scope])["key"])
    assert refused.value.response.status_code == 403
