"""The ways to say who one is, and what happens when one does not."""

import time

import pytest

from engines import LOCAL
from listen import LINEAR16, ListenSession, handshake, refusal, token

EVERY_ENGINE = True

LONGEST_TOKEN = 60  # longer subprotocol values are lost on their way, see the server's web library


def grant(server, seconds: int | None = None) -> dict:
    body = None if seconds is None else {"ttl_seconds": seconds}
    answer = server.post("/v1/auth/grant", body, f"Token {server.key}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Token",
        "Token ",
        "Basic dXNlcjpwYXNz",
        "Token hsk_live_tooshort",
        "Token " + "x" * 4000,
        "Token hsk_live_" + "A" * 49,
        "bearer nonsense",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
    ],
)
def test_a_bad_credential_is_refused(synthetic_server, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    body = refusal(handshake(synthetic_server, headers=headers), 401)
    assert body["err_code"] == "INVALID_AUTH"


def test_an_unknown_key_is_refused(synthetic_server, engine_servers):
    """Well formed, because another server made it."""
    refusal(handshake(synthetic_server, headers=token(engine_servers[LOCAL].key)), 401)


def test_a_key_with_one_wrong_character_is_refused(synthetic_server):
    key = synthetic_server.key
    changed = key[:20] + ("a" if key[20] != "a" else "b") + key[21:]
    refusal(handshake(synthetic_server, headers=token(changed)), 401)


def test_a_refusal_does_not_repeat_the_credential(synthetic_server):
    secret = synthetic_server.key[:-1]
    answer = handshake(synthetic_server, headers=token(secret))
    assert secret not in answer.body.decode() and all(secret not in value for value in answer.headers.values())


def test_an_expired_key_is_refused(own_server, cluster):
    server = own_server(HANSARD_DATABASE_URL=cluster.url, HANSARD_DATABASE_OWNER_URL=cluster.url)
    key = server.key
    assert handshake(server, headers=token(key)).status == 101
    server.stop()
    server.database().expire_keys()
    server.start()
    body = refusal(handshake(server, headers=token(key)), 401)
    assert "expired" in body["err_msg"]


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN"])
def test_the_key_in_a_header(synthetic_server, scheme):
    headers = {"Authorization": f"{scheme} {synthetic_server.key}"}
    with ListenSession(synthetic_server, headers=headers) as session:
        session.finish()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_granted_token_in_a_header(synthetic_server, scheme):
    granted = grant(synthetic_server)
    assert granted["expires_in"] == 30
    headers = {"Authorization": f"{scheme} {granted['access_token']}"}
    with ListenSession(synthetic_server, headers=headers) as session:
        session.finish()


def test_the_key_as_subprotocol(synthetic_server):
    with ListenSession(synthetic_server, subprotocols=["token", synthetic_server.key]) as session:
        assert session.socket.subprotocol == "token"
        session.finish()


def test_a_granted_token_as_subprotocol(synthetic_server):
    access_token = grant(synthetic_server)["access_token"]
    assert len(access_token) <= LONGEST_TOKEN
    with ListenSession(synthetic_server, subprotocols=["bearer", access_token]) as session:
        assert session.socket.subprotocol == "bearer"
        session.finish()


def test_a_bad_subprotocol_credential_is_refused(synthetic_server):
    refusal(handshake(synthetic_server, headers={"Sec-WebSocket-Protocol": "token, hsk_live_nonsense"}), 401)


def test_a_granted_token_expires(synthetic_server):
    access_token = grant(synthetic_server, 1)["access_token"]
    time.sleep(2.1)
    refusal(handshake(synthetic_server, headers={"Authorization": f"bearer {access_token}"}), 401)


def test_a_granted_token_cannot_read_or_grant(synthetic_server):
    access_token = grant(synthetic_server)["access_token"]
    assert synthetic_server.post("/v1/auth/grant", None, f"Bearer {access_token}").status_code in (401, 403)


@pytest.mark.parametrize("seconds", [0, -1, "soon", 10**9])
def test_a_bad_lifetime_is_refused(synthetic_server, seconds):
    answer = synthetic_server.post("/v1/auth/grant", {"ttl_seconds": seconds}, f"Token {synthetic_server.key}")
    assert answer.status_code == 400
    assert "ttl_seconds" in answer.text


def test_a_grant_needs_a_key(synthetic_server):
    assert synthetic_server.post("/v1/auth/grant", None, None).status_code == 401


def test_the_handshake_echoes_the_browser_origin(synthetic_server):
    headers = token(synthetic_server.key) | {"Origin": "https://example.com"}
    answer = handshake(synthetic_server, headers=headers)
    assert answer.status == 101
    assert answer.headers["access-control-allow-origin"] == "https://example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_the_request_id_is_in_the_messages(synthetic_server):
    with ListenSession(synthetic_server, LINEAR16) as session:
        (metadata,) = session.finish()
        assert metadata["request_id"] == session.request_id
