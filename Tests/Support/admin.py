"""The admin REST API as an operator's program uses it."""

import uuid

import requests


class Admin:
    """Calls with an admin token."""

    def __init__(self, server, secret: str | None = None):
        self.server = server
        self.url = server.url
        self.secret = secret or server.dev_env["HANSARD_ADMIN_TOKEN"]

    def call(self, method: str, path: str, body=None, **headers):
        if method == "POST":
            headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, f"{self.url}/v1/admin{path}", json=body,
                headers={"Authorization": f"Bearer {self.secret}"} | headers, timeout=20)

    def made(self, path: str, body) -> dict:
        answer = self.call("POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def tenant(self, **fields) -> dict:
        return self.made("/tenants", {"name": f"tenant {uuid.uuid4()}"} | fields)

    def key(self, tenant: dict, **fields) -> dict:
        return self.made(f"/tenants/{tenant['id']}/keys", {"name": "a key"} | fields)
