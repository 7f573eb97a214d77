"""Tenants apart where a table and a bucket are shared: the same calls as in test_isolation.py."""

import pytest

from contract import document, names_in, operations
from operators import Operator
from strangers import check_paths, things_of_a_tenant

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

SCOPES = document()["components"]["schemas"]["Scope"]["enum"]


def test_another_tenants_sessions_and_transcripts_are_nowhere(fleet, table, bucket):
    secret = fleet.admin_token()
    node = fleet.start("one")
    owner = Operator(node, secret)
    mine, theirs = (things_of_a_tenant(owner, name, SCOPES) for name in ("mine", "theirs"))
    limited = owner.with_role("operator", tenants=[mine.tenant])
    before, items, keys = theirs.state(), table.items(f"T#{theirs.tenant}"), bucket.keys()
    asked = 0
    for one in operations():
        if "session_id" in names_in(one.path):
            asked += check_paths(mine.holder if one.scopes else limited, one, mine, theirs)
    print(f"{asked} pairs of calls")
    assert asked and theirs.state() == before and theirs.live.close()[0] is None
    assert (table.items(f"T#{theirs.tenant}"), bucket.keys()) == (items, keys)
    # The same calls find what is one's own.
    for session in mine.of["session_id"]:
        assert mine.holder.call("GET", f"/v1/sessions/{session}").ok
    assert mine.holder.call("GET", f"/v1/transcripts/{mine.of['session_id'][0]}/download").ok
    for things in (mine, theirs):
        things.live.finish()
