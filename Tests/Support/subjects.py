"""What operations are about: something that is there for every name in an operation's address."""

import contextlib
import uuid
from collections.abc import Iterator

from contract import Operation, operation
from database import Database
from listen import ListenSession
from operators import Operator
from processes import wait_until


def priced(owner: Operator, tenant: str) -> dict[str, str]:
    """A plan with a version that is not used, the tenant's assignment to another in a year that examples leave alone, and a
    name that no plan has."""
    assignment = owner.assigned(tenant, "2020-01", "2020-12")
    names = {"plan_id": owner.plan(), "version": 1, "from_period": assignment["from_period"]}
    return names | {"name": f"a plan {uuid.uuid4()}"}


@contextlib.contextmanager
def billed(owner: Operator, one: Operation, tenant: str) -> Iterator[dict[str, str]]:
    """What an operation about months, invoices or credits names: an invoice of the tenant's, one that is yet to be made, a credit,
    or a life of a node that is lost."""
    if one.path.endswith("/close"):
        yield {"period": owner.closable()}
    elif "/credits" in one.path or one.path.endswith("/preview"):
        owner.assigned(tenant, "2020-01", "2020-12")
        yield {"period": "2020-03", "credit_id": owner.credited(tenant)}
    elif "{epoch}" in one.path:
        lost, database = str(uuid.uuid4()), Database.of(owner.server)
        # Not so long ago that it is in the way of the months that tests close.
        database.query(
            "INSERT INTO usage_sources (node, epoch, spool, complete_through) "
            f"VALUES ('lost', '{lost}', gen_random_uuid(), now() - interval '1 hour')")
        try:
            yield {"node": "lost", "epoch": lost}
        finally:
            # Or nobody's usage would be complete any more.
            database.query(f"UPDATE usage_sources SET finished_at = now() WHERE epoch = '{lost}'")
    elif "{period}" in one.path:
        period = owner.invoiced(tenant)
        yield {"period": period, "for_period": period, "line": "charge-0"}
    else:
        yield {}


@contextlib.contextmanager
def subjects(owner: Operator, one: Operation, tenant: str) -> Iterator[dict[str, str]]:
    """Of this tenant: a session that lives, or one that is over where it is about what was said."""
    key = owner.key(tenant)
    # A tenant is a project to Deepgram's SDKs, and a session a request.
    names = {"tenant_id": tenant, "project_id": tenant, "key_id": key["id"]}
    if "{token_id}" in one.path:
        names["token_id"] = owner.made("/v1/admin/tokens", {"name": "to revoke", "role": "viewer"})["id"]
    if "{node}" in one.path:
        names["node"] = owner.call("GET", "/v1/admin/nodes").json()["data"][0]["name"]
    if "/plans" in one.path:
        names |= priced(owner, tenant)
    with contextlib.ExitStack() as stack:
        names |= stack.enter_context(billed(owner, one, tenant))
        if "{session_id}" in one.path:
            session = stack.enter_context(ListenSession(owner.server, key=key["key"]))
            names["session_id"] = session.request_id
            if "/transcripts/" in one.path:
                session.send(bytes(32_000))
                session.finish()
                path = f"/v1/admin/transcripts?tenant_id={tenant}"
                wait_until(lambda: owner.call("GET", path).json()["data"], 20, "its transcript is stored")
            else:
                path = f"/v1/admin/tenants/{tenant}/sessions?status=live"
                wait_until(lambda: owner.call("GET", path).json()["data"], 20, "it has its slot")
        if "{request_id}" in one.path:
            with ListenSession(owner.server, key=key["key"]) as session:
                session.send(bytes(32_000))
                session.finish()
            names["request_id"] = session.request_id
            path = f"/v1/admin/tenants/{tenant}/sessions?status=past"
            wait_until(lambda: owner.call("GET", path).json()["data"], 20, "it is among the past ones")
        yield names
        if one.id == "drainNode":
            owner.perform(operation("undrainNode"), **names)
            wait_until(lambda: owner.server.get("/readyz").status_code == 200, 10, "others can use the node again")
