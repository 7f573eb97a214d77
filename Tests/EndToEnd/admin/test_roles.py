"""Who may call what: every role and every route, every scope and every route, and tokens that are limited to a tenant."""

import pytest
from websockets.exceptions import InvalidStatus

from contract import Operation, document, operation, operations
from listen import ListenSession
from operators import UNKNOWN, Operator
from subjects import subjects

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


def check_allowed(one: Operation, answer, is_allowed: bool) -> None:
    """Fails unless an allowed call succeeded, and another one was refused for want of a role or scope alone."""
    one.check(answer)
    if not is_allowed:
        assert answer.status_code == 403, answer.text
    elif one.path.endswith("/download"):
        # Only a bucket has addresses of its own: test_lists_on_aws.py has one.
        assert answer.status_code == 409 and "no address of their own" in answer.json()["detail"], answer.text
    else:
        assert answer.ok, answer.text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("one", ADMIN, ids=named)
def test_a_role_may_do_what_the_document_says(owner, by_role, role, one):
    """On things of this test's own, so that what is allowed is also done."""
    body = {"name": "by role"} if one.id == "createTenant" else one.request_examples()[0]
    with subjects(owner, one, owner.tenant()) as names:
        check_allowed(one, by_role[role].perform(one, body, **names), role in one.roles)


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


@pytest.mark.parametrize("one", [one for one in ADMIN if "{tenant_id}" in one.path], ids=named)
def test_a_limited_token_may_do_the_same_to_its_own_tenant(owner, limited, one):
    role = "operator" if "operator" in one.roles else "billing"
    tenant, token = limited[0], limited[1][role]
    if one.id in ("deleteTenant", "suspendTenant") or {"plans", "invoices", "credits"} & set(one.path.split("/")):
        # Other tests need that one, or its months.
        tenant = owner.tenant()
        token = owner.with_role(role, tenants=[tenant])
    with subjects(owner, one, tenant) as names:
        check_allowed(one, token.perform(one, one.request_examples()[0], **names), True)


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


# The tenant's own plane


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("one", TENANT, ids=named)
def test_a_key_needs_the_scope_that_the_document_says(owner, one, scope):
    tenant = owner.tenant()
    holder = Operator(owner.server, owner.key(tenant, scopes=[scope])["key"])
    with subjects(owner, one, tenant) as names:
        check_allowed(one, holder.perform(one, one.request_examples()[0], **names), scope in one.scopes)


@pytest.mark.parametrize("one", TENANT, ids=named)
def test_all_other_scopes_together_are_not_the_one_that_is_needed(owner, one):
    tenant = owner.tenant()
    holder = Operator(owner.server, owner.key(tenant, scopes=[each for each in SCOPES if each not in one.scopes])["key"])
    with subjects(owner, one, tenant) as names:
        check_allowed(one, holder.perform(one, one.request_examples()[0], **names), False)
    assert owner.perform(one).status_code == 401, "an admin token is no key"


def test_listening_needs_its_scope(owner, synthetic_server):
    (scope,) = operation("listen").scopes
    tenant = owner.tenant()
    with ListenSession(synthetic_server, key=owner.key(tenant, scopes=[scope])["key"]):
        pass
    with pytest.raises(InvalidStatus) as refused:
        ListenSession(synthetic_server, key=owner.key(tenant, scopes=[one for one in SCOPES if one != scope])["key"])
    assert refused.value.response.status_code == 403
