"""A chain of the audit log that was rebuilt in the database, and what was kept of it elsewhere."""

import re

from contract import operation
from operators import Operator
from processes import wait_until

VERIFY = "/v1/admin/audit/verify"

# What a superuser can do: another entry, and all hashes from there on.
REBUILD = """
    DO $$
    DECLARE
        link audit_log;
        previous bytea := '';
    BEGIN
        ALTER TABLE audit_log DISABLE TRIGGER audit_is_immutable;
        UPDATE audit_log SET actor_id = 'somebody else' WHERE place = 1 AND tenant_id = '%s';
        FOR link IN SELECT * FROM audit_log WHERE tenant_id = '%s' ORDER BY place LOOP
            previous := sha256(previous || audit_text(link));
            UPDATE audit_log SET hash = previous WHERE event_id = link.event_id;
        END LOOP;
        ALTER TABLE audit_log ENABLE TRIGGER audit_is_immutable;
    END $$
"""


def heads(server, chain: str) -> list[str]:
    return sorted(one.name for one in (server.state_dir / "transcripts" / "audit-heads" / chain).glob("*"))


def test_a_chain_that_was_rebuilt_is_found_out(own_server, cluster):
    server = own_server(HANSARD_DATABASE_URL=cluster.url, HANSARD_DATABASE_OWNER_URL=cluster.url)
    owner = Operator.owner(server)
    tenant, other = owner.tenant(), owner.tenant()
    owner.key(tenant)
    server.stop()
    # At its stop a node keeps the end of each chain; its look at the start may have come across the first entry.
    kept = heads(server, tenant)
    assert re.fullmatch(r"0{11}2-[0-9a-f]{64}\.json", kept[-1]) and len(heads(server, other)) == 1

    server.start()
    owner.key(tenant)
    whole = owner.call("GET", f"{VERIFY}?tenant_id={tenant}")
    operation("verifyAudit").check(whole)
    assert whole.json() | {"entries": 3, "is_intact": True, "heads_differing": 0} == whole.json()
    assert whole.json()["heads_compared"] >= len(kept)
    server.database().query(REBUILD % (tenant, tenant))
    found = owner.call("GET", f"{VERIFY}?tenant_id={tenant}")
    operation("verifyAudit").check(found)
    found = found.json()
    # By itself the chain is whole: only what was kept elsewhere tells.
    assert found["first_wrong"] is None and not found["is_intact"]
    named = {f"{one['place']:012}-{one['kept_hash']}.json": one["hash"] for one in found["differing_heads"]}
    assert set(named) >= set(kept) and found["heads_differing"] == len(named)
    assert all(hash not in name for name, hash in named.items())
    assert owner.call("GET", f"{VERIFY}?tenant_id={other}").json()["is_intact"]

    # The next life finds it by itself, says so, and does not keep the new end in place of the old one.
    kept = heads(server, tenant)
    server.stop()
    assert heads(server, tenant) == kept
    server.start()
    wait_until(
        lambda: re.search(r"^hansard_audit_differences_total [1-9]", server.metrics(), re.MULTILINE), 20, "it is noticed")
    assert any(one["level"] == "error" and one.get("tenant_id") == tenant for one in server.log_records())


def test_what_is_kept_is_needed_for_an_answer(own_server):
    server = own_server()
    owner = Operator.owner(server)
    owner.with_role("viewer")
    server.stop()
    assert heads(server, "installation"), "a node that stops keeps the end of each chain"
    server.start()
    kept = server.state_dir / "transcripts" / "audit-heads" / "installation"
    aside = kept.rename(kept.with_name("aside"))
    # A link that leads to itself cannot be read, by anybody.
    kept.symlink_to(kept)
    assert owner.call("GET", VERIFY).status_code == 503
    kept.unlink()
    aside.rename(kept)
    whole = owner.call("GET", VERIFY)
    assert whole.status_code == 200 and whole.json()["is_intact"] and whole.json()["heads_compared"] >= 1
