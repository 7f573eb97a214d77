"""Tenants apart: what a node's own login finds in the database when it does not say for which tenant, and what callers
learn of another tenant's things, over every route of openapi.yaml: nothing."""

import contextlib

import pytest

from contract import document, names_in, operations
from database import Database
from engines import SYNTHETIC
from listen import LINEAR16, ListenSession
from operators import Operator
from processes import wait_until
from strangers import Things, check_paths, check_queries, things_of_a_tenant

NODE_ROLE = "hansard_node"


@pytest.fixture(scope="module")
def server(engine_servers):
    return engine_servers[SYNTHETIC]


@pytest.fixture(scope="module")
def owner(server):
    return Database.of(server)


@pytest.fixture(scope="module")
def node(owner):
    """The login of dev's node, by psql."""
    words = owner.url.split()
    return Database(" ".join(f"user={NODE_ROLE}" if word.startswith("user=") else word for word in words))


@pytest.fixture(scope="module")
def tenants(server, owner):
    """Two, one of which has a session behind it."""
    with ListenSession(server, LINEAR16) as session:
        session.send(bytes(32000), pace=0)
        session.close_stream()
        session.wait_closed(20)
    made = Operator.owner(server).tenant()
    (used,) = wait_until(
        lambda: owner.query("SELECT tenant_id FROM usage_rows LIMIT 1"), 20, "the session's usage is recorded")[0]
    return [used, made]


def tables(database: Database) -> dict[str, bool]:
    """Each table, and whether its rows are of tenants."""
    rows = database.query(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id') "
        "FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    return {name: has_tenant == "t" for name, has_tenant in rows}


def counts(database: Database, sources: dict[str, str], tenant: str | None = None) -> dict[str, int]:
    """How many rows are in each, by one statement: a psql for each would take seconds."""
    named = f"SET app.tenant_id = '{tenant}'; " if tenant else ""
    union = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {source}" for name, source in sources.items())
    return {name: int(rows) for name, rows in database.query(named + union)}


def test_the_node_does_not_log_in_as_the_owner(owner, tenants):
    logins = owner.query(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'hansard%'"
    )
    assert logins == [[NODE_ROLE]]


def test_without_a_tenant_every_table_is_empty(owner, node, tenants):
    found = {table: table for table in tables(owner)}
    assert {"tenants", "api_keys", "usage_rows", "audit_log", "admin_tokens"} <= set(found)
    assert counts(node, found) == dict.fromkeys(found, 0)
    there = counts(owner, found)
    assert there["tenants"] >= 2 and there["usage_rows"] >= 1 and there["admin_tokens"] >= 1


def test_with_a_tenant_there_is_that_tenant_alone(owner, node, tenants):
    found = tables(owner)
    for tenant in tenants:
        mine = {table: f"{table} WHERE tenant_id = '{tenant}'" for table, has_tenant in found.items() if has_tenant}
        expected = dict.fromkeys(found, 0) | counts(owner, mine)
        assert counts(node, {table: table for table in found}, tenant) == expected


@pytest.mark.parametrize("statement", ["UPDATE tenants SET name = ''", "DELETE FROM audit_log", "SET ROLE hansard_doors"])
def test_the_node_changes_nothing_past_its_doors(node, tenants, statement):
    with pytest.raises(AssertionError, match="permission denied"):
        node.query(statement)


# By the API


ROLES = document()["components"]["schemas"]["Role"]["enum"]
SCOPES = document()["components"]["schemas"]["Scope"]["enum"]
ADMIN = [one for one in operations() if one.roles]
TENANT = [one for one in operations() if one.scopes and one.id != "listen"]
# Which tenant it is about is in the path, or it is a session's. Nodes, tokens, plans and new tenants are nobody's in particular.
OF_A_TENANT = [one for one in ADMIN if "{tenant_id}" in one.path or "{session_id}" in one.path]
# Whoever may assign plans must see which there are.
FOR_ALL = [one for one in ADMIN if one.id in ("listPlans", "getPlan", "listPlanVersions", "getPlanVersion")]
# Of a month, and of the tenants that the token may know of: Tests/EndToEnd/admin/test_billing_forms.py.
REPORTS = [one for one in ADMIN if one.id == "getBillingReport"]
OWN_ALONE = ("listTenants", "listAllSessions", "listTenantTranscripts", "listAllInvoices", "listAudit", "verifyAudit")
LISTS = [one for one in ADMIN if one.id in OWN_ALONE]


@pytest.fixture(scope="module")
def mine_and_theirs(server):
    owner = Operator.owner(server)
    both = [things_of_a_tenant(owner, name, SCOPES) for name in ("mine", "theirs")]
    yield both
    for things in both:
        things.live.__exit__()


@contextlib.contextmanager
def untouched(theirs: Things):
    before = theirs.state()
    yield
    assert theirs.state() == before and theirs.live.close()[0] is None


def named(one) -> str:
    return one.id


def test_a_key_cannot_tell_another_tenants_things_from_none(mine_and_theirs):
    mine, theirs = mine_and_theirs
    with untouched(theirs):
        pairs = {one.id: check_paths(mine.holder, one, mine, theirs) for one in TENANT if names_in(one.path)}
        queries = sum(check_queries(mine.holder, one, theirs) for one in TENANT if not names_in(one.path))
    print(f"{sum(pairs.values())} pairs of calls for {len(pairs)} operations, and {queries} queries")
    assert all(pairs.values()) and queries


def test_the_same_calls_find_what_is_ones_own(mine_and_theirs):
    """Or else the test above would prove nothing."""
    mine, _ = mine_and_theirs
    for one in TENANT:
        if one.method == "GET" and names_in(one.path):
            answers = [
                mine.holder.perform(
                    one, session_id=session, request_id=session, project_id=mine.tenant, period=mine.of["period"][0],
                    for_period=mine.of["for_period"][0])
                for session in mine.of["session_id"]
            ]
            assert any(answer.status_code != 404 for answer in answers), one.id


@pytest.mark.parametrize("one", OF_A_TENANT, ids=named)
def test_a_limited_token_cannot_tell_another_tenants_things_from_none(mine_and_theirs, limited, one):
    mine, theirs = mine_and_theirs
    with untouched(theirs):
        for role in ROLES:
            assert check_paths(limited[role], one, mine, theirs, 404 if role in one.roles else 403)


@pytest.fixture(scope="module")
def limited(mine_and_theirs) -> dict[str, Operator]:
    """A token of each role that may know of one tenant alone."""
    mine, _ = mine_and_theirs
    return {role: mine.owner.with_role(role, tenants=[mine.tenant]) for role in ROLES}


def test_a_limited_token_finds_nothing_of_another_tenant_in_lists(mine_and_theirs, limited):
    _, theirs = mine_and_theirs
    lists = [one for one in ADMIN if not names_in(one.path) and one.method == "GET"]
    pairs = sum(check_queries(limited[role], one, theirs) for one in lists for role in ROLES)
    print(f"{pairs} pairs of calls")
    assert pairs
    everything = "".join(limited["owner"].perform(one).text for one in lists)
    assert not [one for values in theirs.of.values() for one in values if one in everything and one != "theirs"]


@pytest.mark.parametrize("one", [one for one in ADMIN if one not in OF_A_TENANT + FOR_ALL + LISTS + REPORTS], ids=named)
def test_a_limited_token_has_nothing_to_do_with_what_is_everybodys(limited, one):
    answer = limited["owner"].perform(one, one.request_examples()[0])
    assert answer.status_code == 403, answer.text
    one.check(answer)
