"""What a node's own login finds in the database when it does not say for which tenant: nothing."""

import pytest

from database import Database
from engines import SYNTHETIC
from listen import LINEAR16, ListenSession
from operators import Operator

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
    (used,) = [row[0] for row in owner.query("SELECT DISTINCT tenant_id FROM usage_rows")][:1]
    return [used, made]


def tables(database: Database) -> dict[str, bool]:
    """Each table, and whether its rows are of tenants."""
    rows = database.query(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id') "
        "FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    return {name: has_tenant == "t" for name, has_tenant in rows}


def count(database: Database, table: str, tenant: str | None = None) -> int:
    named = f"SET app.tenant_id = '{tenant}'; " if tenant else ""
    return int(database.query(f"{named}SELECT count(*) FROM {table}")[-1][0])


def test_the_node_does_not_log_in_as_the_owner(owner, tenants):
    logins = owner.query(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'hansard%'"
    )
    assert logins == [[NODE_ROLE]]


def test_without_a_tenant_every_table_is_empty(owner, node, tenants):
    found = tables(owner)
    assert {"tenants", "api_keys", "usage_rows", "audit_log", "admin_tokens"} <= set(found)
    assert {table: count(node, table) for table in found} == dict.fromkeys(found, 0)
    assert count(owner, "tenants") >= 2 and count(owner, "usage_rows") >= 1 and count(owner, "admin_tokens") >= 1


def test_with_a_tenant_there_is_that_tenant_alone(owner, node, tenants):
    for table, has_tenant in tables(owner).items():
        for tenant in tenants:
            mine = f"(SELECT FROM {table} WHERE tenant_id = '{tenant}') AS mine"
            assert count(node, table, tenant) == (count(owner, mine) if has_tenant else 0), table


@pytest.mark.parametrize("statement", ["UPDATE tenants SET name = ''", "DELETE FROM audit_log", "SET ROLE hansard_doors"])
def test_the_node_changes_nothing_past_its_doors(node, tenants, statement):
    with pytest.raises(AssertionError, match="permission denied"):
        node.query(statement)
