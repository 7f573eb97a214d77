"""The admin plane as an operator's program calls it."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import requests

from contract import Operation, about, names_in

UNKNOWN = {
    "tenant_id": str(uuid.UUID(int=1)),
    "key_id": "key_" + "0" * 22,
    "token_id": "adm_" + "0" * 22,
    "session_id": str(uuid.UUID(int=2)),
    "project_id": str(uuid.UUID(int=1)),
    "request_id": str(uuid.UUID(int=2)),
    "node": "nowhere",
    "plan_id": str(uuid.UUID(int=3)),
    "version": 1,
    "from_period": "1984-04",
    "period": "2099-12",
    "for_period": "2099-12",
    "line": "charge-0",
    "credit_id": str(uuid.UUID(int=4)),
    "epoch": str(uuid.UUID(int=5)),
    # Where reports begin.
    "start_time": (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%dT00:00:00Z"),
}

# Months that are for closing. Other tests use later ones.
LONG_AGO = [f"{year}-{month:02}" for year in range(2000, 2020) for month in range(1, 13)]
PRICES = {"currency": "USD", "charges": [{"tiers": [{"up_to": 1000, "unit_price": "0.024"}, {"unit_price": "0.015"}]}]}


@dataclass(frozen=True)
class Operator:
    """Whoever holds an admin token."""

    server: object
    token: str
    # Where the admin plane has an address of its own.
    url: str | None = None

    @staticmethod
    def owner(server) -> "Operator":
        """With the token that `hansard dev` made."""
        return Operator(server, server.dev_env["HANSARD_ADMIN_TOKEN"])

    def call(self, method: str, path: str, body=None, **headers: str) -> requests.Response:
        """Every call that may be repeated gets a name of its own, unless one is given."""
        sent = {"Authorization": f"Bearer {self.token}"}
        if method != "GET":
            sent["Idempotency-Key"] = str(uuid.uuid4())
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, (self.url or self.server.url) + path, headers=sent, json=body, timeout=20)

    def perform(self, operation: Operation, body=None, **names: str) -> requests.Response:
        """An operation of the document; what its address needs and is not given is of things that are not there, and fields of
        the body that are given are of those that are."""
        parts = {name: names.get(name, UNKNOWN[name]) for name in names_in(operation.path)}
        query = "&".join(f"{name}={names.get(name, UNKNOWN[name])}" for name in operation.required_query)
        return self.call(operation.method, operation.path.format(**parts) + (f"?{query}" if query else ""), about(body, names))

    def made(self, path: str, body: dict) -> dict:
        """What creating something is answered."""
        answer = self.call("POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def tenant(self, name: str = "a tenant", **fields) -> str:
        return self.made("/v1/admin/tenants", {"name": name, **fields})["id"]

    def key(self, tenant: str, name: str = "a key", **fields) -> dict:
        return self.made(f"/v1/admin/tenants/{tenant}/keys", {"name": name, **fields})

    def plan(self, name: str | None = None, **prices) -> str:
        """A plan with a version that nobody has yet."""
        plan = self.made("/v1/admin/plans", {"name": name or f"a plan {uuid.uuid4()}"})["id"]
        self.made(f"/v1/admin/plans/{plan}/versions", PRICES | prices)
        return plan

    def closable(self) -> str:
        """A month long before all usage: the first after those that are closed."""
        path, shut = "/v1/admin/periods?limit=100", set()
        while path:
            page = self.call("GET", path)
            shut |= {one["period"] for one in page.json()["data"] if one["state"] != "open"}
            path = page.links.get("next", {}).get("url")
        return next(month for month in LONG_AGO if month > max(shut, default=""))

    def invoiced(self, tenant: str, commitment: str = "5") -> str:
        """The month of an invoice of the tenant's."""
        month = self.closable()
        self.assigned(tenant, month, month, plan_id=self.plan(commitment=commitment))
        closed = self.call("POST", f"/v1/admin/periods/{month}/close")
        assert closed.status_code == 200, closed.text
        return month

    def credited(self, tenant: str, period: str = "2026-12") -> str:
        """A credit of a tenant that has a plan."""
        body = {"amount": "-1", "period": period, "reason": f"a test's {uuid.uuid4()}"}
        return self.made(f"/v1/admin/tenants/{tenant}/credits", body)["id"]

    def assigned(self, tenant: str, from_period: str, to_period: str | None = None, **fields) -> dict:
        """A tenant billed by a plan of its own, unless one is given."""
        fields = {"plan_id": fields.get("plan_id") or self.plan(), "version": 1} | fields
        body = fields | {"from_period": from_period, "to_period": to_period}
        return self.made(f"/v1/admin/tenants/{tenant}/plans", body)

    def with_role(self, role: str, **fields) -> "Operator":
        token = self.made("/v1/admin/tokens", {"name": f"a test's {role}", "role": role, **fields})
        return replace(self, token=token["token"])
