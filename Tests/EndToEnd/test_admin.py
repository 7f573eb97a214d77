"""Operators' calls through the whole server: what is made works, what is revoked does not, and the log says who did it."""

import json
import time
import uuid
from dataclasses import replace

import pytest
import requests

from engines import SYNTHETIC
from fleet import hansard
from listen import LINEAR16, ListenSession, handshake, refusal, token
from operators import Operator
from processes import wait_until
from raw_requests import send_raw
from server import free_port

CLOSED_WITHIN = 5


@pytest.fixture(scope="module")
def admin(engine_servers):
    return Operator.owner(engine_servers[SYNTHETIC])


def listens(admin, secret: str, **parameters) -> int:
    return handshake(admin.server, LINEAR16 | parameters, token(secret)).status


def test_a_key_works_as_soon_as_it_is_made(admin):
    key = admin.key(admin.tenant())
    assert key["key"].startswith("hsk_live_") and listens(admin, key["key"]) == 101
    assert admin.key(admin.tenant(), mode="test")["key"].startswith("hsk_test_")


def test_a_secret_is_shown_once(admin):
    tenant, repeat = admin.tenant(), {"Idempotency-Key": str(uuid.uuid4())}
    path = f"/v1/admin/tenants/{tenant}/keys"
    first, second = (admin.call("POST", path, {"name": "one"}, **repeat) for _ in range(2))
    assert first.json().pop("key") and "key" not in second.json()
    assert second.json()["code"] == "secret_shown_once" and second.json()["id"] == first.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert first.json()["key"] not in admin.call("GET", f"{path}/{first.json()['id']}").text
    assert admin.call("POST", path, {"name": "two"}, **repeat).status_code == 422


@pytest.mark.parametrize("verb", ["disable", "revoke"])
def test_a_live_session_ends_with_its_key(admin, verb):
    tenant = admin.tenant()
    key = admin.key(tenant)
    with ListenSession(admin.server, LINEAR16, key=key["key"]) as session:
        session.send(bytes(3200), pace=0)
        began = time.monotonic()
        assert admin.call("POST", f"/v1/admin/tenants/{tenant}/keys/{key['id']}/{verb}").status_code == 200
        close = session.wait_closed(CLOSED_WITHIN)
        assert close == (1008, "key revoked") and time.monotonic() - began < CLOSED_WITHIN
    refusal(handshake(admin.server, LINEAR16, token(key["key"])), 401)


def test_an_enabled_key_works_again_and_a_revoked_one_never(admin):
    tenant = admin.tenant()
    key = admin.key(tenant)
    path = f"/v1/admin/tenants/{tenant}/keys/{key['id']}"
    admin.call("POST", path + "/disable")
    assert listens(admin, key["key"]) == 401
    admin.call("POST", path + "/enable")
    assert listens(admin, key["key"]) == 101
    admin.call("POST", path + "/revoke")
    assert admin.call("POST", path + "/enable").status_code == 409
    assert listens(admin, key["key"]) == 401


def test_a_rotated_key_works_until_its_overlap_ends(admin):
    tenant = admin.tenant()
    old = admin.key(tenant, scopes=["listen"], tags=["a"])
    path = f"/v1/admin/tenants/{tenant}/keys/{old['id']}/rotate"
    new = admin.made(path, {"overlap_seconds": 2})
    assert new["family"] == old["family"] and new["scopes"] == ["listen"] and new["tags"] == ["a"]
    assert [listens(admin, one["key"]) for one in (old, new)] == [101, 101]
    time.sleep(2.2)
    assert [listens(admin, one["key"]) for one in (old, new)] == [401, 101]


def test_rotation_does_not_make_a_trial_longer(admin):
    tenant = admin.tenant()
    old = admin.key(tenant, expires_at="2099-01-01T00:00:00Z")
    new = admin.made(f"/v1/admin/tenants/{tenant}/keys/{old['id']}/rotate", {"overlap_seconds": 60})
    assert new["expires_at"] == "2099-01-01T00:00:00.000Z"


def test_a_suspended_tenants_sessions_end_and_a_resumed_one_listens(admin):
    tenant = admin.tenant()
    key = admin.key(tenant)
    with ListenSession(admin.server, LINEAR16, key=key["key"]) as session:
        session.send(bytes(3200), pace=0)
        admin.call("POST", f"/v1/admin/tenants/{tenant}/suspend")
        assert session.wait_closed(CLOSED_WITHIN) == (1008, "tenant suspended")
    assert listens(admin, key["key"]) == 403
    admin.call("POST", f"/v1/admin/tenants/{tenant}/resume")
    assert listens(admin, key["key"]) == 101


def test_an_operator_ends_a_session(admin):
    tenant = admin.tenant()
    key = admin.key(tenant)
    path = f"/v1/admin/tenants/{tenant}/sessions"
    with ListenSession(admin.server, LINEAR16, key=key["key"]) as session:
        session.send(bytes(3200), pace=0)
        wait_until(lambda: admin.call("GET", path).json()["data"], 5, "the session is listed")
        assert [one["id"] for one in admin.call("GET", path).json()["data"]] == [session.request_id]
        assert admin.call("POST", f"{path}/{session.request_id}/terminate").status_code == 202
        assert session.wait_closed(CLOSED_WITHIN) == (1008, "terminated by operator")
        wait_until(lambda: admin.call("GET", f"{path}/{session.request_id}").json()["state"] == "terminated", 5, "it ended")
    assert admin.call("POST", f"{path}/{session.request_id}/terminate").status_code == 409


def test_keys_are_bound_to_addresses_and_tenants_to_languages(admin):
    tenant = admin.tenant(allowed_languages=["de"])
    assert listens(admin, admin.key(tenant)["key"], language="en") == 403
    tenant = admin.tenant()
    assert listens(admin, admin.key(tenant, allowed_cidrs=["127.0.0.0/8", "::1"])["key"]) == 101
    assert listens(admin, admin.key(tenant, allowed_cidrs=["10.0.0.0/8"])["key"]) == 403


def test_a_deleted_tenant_is_gone(admin):
    tenant = admin.tenant()
    key = admin.key(tenant)
    with ListenSession(admin.server, LINEAR16, key=key["key"]) as session:
        session.send(bytes(3200), pace=0)
        assert admin.call("DELETE", f"/v1/admin/tenants/{tenant}").status_code == 204
        assert session.wait_closed(CLOSED_WITHIN) == (1008, "key revoked")
    assert listens(admin, key["key"]) == 401
    for method, path in [("GET", ""), ("PATCH", ""), ("GET", "/keys"), ("GET", "/quotas"), ("POST", "/suspend")]:
        assert admin.call(method, f"/v1/admin/tenants/{tenant}{path}", {} if method != "GET" else None).status_code == 404


def test_of_two_who_change_the_same_the_second_is_told(admin):
    tenant = admin.tenant()
    path = f"/v1/admin/tenants/{tenant}"
    tag = admin.call("GET", path).headers["etag"]
    assert admin.call("PATCH", path, {"retention_days": 5}, **{"If-Match": tag}).status_code == 200
    assert admin.call("PATCH", path, {"retention_days": 6}, **{"If-Match": tag}).status_code == 412
    assert admin.call("GET", path).json()["retention_days"] == 5


def test_lists_are_whole_while_they_grow(admin):
    tenant = admin.tenant()
    ids = [admin.key(tenant)["id"] for _ in range(7)]
    seen, after = [], ""
    while True:
        page = admin.call("GET", f"/v1/admin/tenants/{tenant}/keys?limit=3{after}").json()
        seen += [key["id"] for key in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['next_cursor']}"
        admin.key(tenant)
    assert seen == list(reversed(ids))


def test_everything_is_in_the_log_and_the_log_is_whole(admin):
    tenant = admin.tenant("Acme")
    key = admin.key(tenant)
    viewer = admin.with_role("viewer")
    assert viewer.call("POST", f"/v1/admin/tenants/{tenant}/suspend").status_code == 403
    admin.call("PUT", f"/v1/admin/tenants/{tenant}/quotas", {"max_concurrent_sessions": 5})
    log = admin.call("GET", f"/v1/admin/audit?tenant_id={tenant}").json()["data"]
    assert [entry["action"] for entry in reversed(log)] == [
        "tenant.create", "key.create", "POST /v1/admin/tenants/{tenant_id}/suspend", "quotas.set",
    ]
    assert [entry["outcome"] for entry in reversed(log)] == ["done", "done", "denied", "done"]
    assert key["key"] not in json.dumps(log) and "Acme" not in json.dumps(log)
    assert admin.call("GET", f"/v1/admin/audit/verify?tenant_id={tenant}").json() | {"is_intact": True, "entries": 4} == (
        admin.call("GET", f"/v1/admin/audit/verify?tenant_id={tenant}").json())


def test_a_tenants_own_key_reaches_its_own_alone(admin):
    mine, other = admin.tenant(), admin.tenant()
    my_key, other_key = admin.key(mine)["key"], admin.key(other)["key"]
    with ListenSession(admin.server, LINEAR16, key=other_key) as session:
        session.send(bytes(3200), pace=0)
        wait_until(lambda: admin.server.get("/v1/sessions", other_key).json()["data"], 5, "it is listed")
        assert admin.server.get("/v1/sessions", my_key).json()["data"] == []
        path = f"/v1/sessions/{session.request_id}"
        assert admin.server.get(path, other_key).json()["state"] == "active"
        assert admin.server.get(path, my_key).status_code == 404
        terminate = [
            admin.server.post(path + "/terminate", None, f"Token {key}").status_code for key in (my_key, other_key)
        ]
        assert terminate == [404, 202]
        assert session.wait_closed(CLOSED_WITHIN)[0] == 1008


def test_the_admin_api_may_have_an_address_of_its_own(own_server):
    port = free_port()
    server = own_server(HANSARD_ADMIN_LISTEN=f"127.0.0.1:{port}")
    assert Operator.owner(server).call("GET", "/v1/admin/tenants").status_code == 404
    for path in ("//v1/admin/tenants", "/v1/listen/../admin/tenants", "/v1/%2e%2e/v1/admin/tenants", "/v1%2fadmin%2ftenants"):
        assert send_raw(Operator.owner(server), "GET", path).status == 404, path
    apart = replace(Operator.owner(server), url=f"http://127.0.0.1:{port}")
    key = apart.key(apart.tenant())["key"]
    assert listens(apart, key) == 101
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(apart.url + "/readyz", timeout=20).status_code == 200
        assert session.get(apart.url + "/v1/sessions", headers=token(key), timeout=20).status_code == 404


def test_the_command_line_changes_what_it_has_seen_and_repeats_without_harm(own_server):
    server = own_server()
    at = dict(word.split("=") for word in server.database().url.split())
    settings = {"HANSARD_DATABASE_URL": f"postgresql://hansard_node@/hansard?host={at['host']}&port={at['port']}"}

    def call(*arguments: str, status: int = 0):
        done = hansard("admin", "call", *arguments, **settings)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    make = ("--idempotency-key", "acme", "POST", "/v1/admin/tenants", '{"name":"Acme"}')
    made = call("--head", *make)
    again = call("--head", *make)
    assert made.stdout == again.stdout and "HTTP 201" in again.stderr.splitlines()
    assert "Idempotent-Replayed: true" in again.stderr and "Idempotent-Replayed" not in made.stderr
    assert "422" in call("--idempotency-key", "acme", "POST", "/v1/admin/tenants", '{"name":"Other"}', status=1).stderr
    path = f"/v1/admin/tenants/{json.loads(made.stdout)['id']}/quotas"
    (etag,) = [line.split(": ")[1] for line in call("--head", "GET", path).stderr.splitlines() if line.startswith("ETag: ")]
    change = '{"max_concurrent_sessions":5}'
    call("--if-match", etag, "PUT", path, change)
    # Somebody has changed it meanwhile; the quotes may be left out.
    for seen in (etag, etag.strip('"')):
        assert "412" in call("--if-match", seen, "PUT", path, change, status=1).stderr
    call("--if-match", "*", "PUT", path, change)
    call("PUT", path, change)
