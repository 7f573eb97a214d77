"""What the server tells about itself: enough to follow a session, and never a secret."""

import conftest
import speech
from listen import ListenSession, handshake, token
from processes import wait_until


def secrets(server) -> dict[str, str]:
    granted = server.post("/v1/auth/grant", None, f"Token {server.key}").json()["access_token"]
    environment = server.dev_env
    return {
        "key": environment["HANSARD_API_KEY"],
        "admin token": environment["HANSARD_ADMIN_TOKEN"],
        "granted token": granted,
        "secret": conftest.SECRET,
        "mistyped key": environment["HANSARD_API_KEY"][:-2],
    }


def test_no_secret_is_logged_or_counted(synthetic_server):
    known = secrets(synthetic_server)
    for credential in known.values():
        handshake(synthetic_server, headers=token(credential))
        handshake(synthetic_server, headers={"Authorization": f"Bearer {credential}"})
        handshake(synthetic_server, headers={"Sec-WebSocket-Protocol": f"token, {credential}"})
        synthetic_server.get("/v1/transcripts", credential)
        synthetic_server.get(f"/v1/transcripts?token={credential}")
    log, metrics = synthetic_server.log(), synthetic_server.metrics()
    for name, secret in known.items():
        assert secret not in log, f"the {name} is in the log"
        assert secret not in metrics, f"the {name} is in the metrics"


def test_a_session_can_be_followed_in_the_log(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()

    def records():
        return [one for one in synthetic_server.log_records() if session.request_id in str(one)]

    found = wait_until(records, 10, "the session is in the log")
    assert any("demo" in str(record) or "tenant" in str(record) for record in found)


def test_metrics_can_be_scraped(synthetic_server):
    before = counters(synthetic_server.metrics())
    with ListenSession(synthetic_server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    after = counters(synthetic_server.metrics())
    assert after.keys() >= before.keys()
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert any("session" in name for name in grown), grown
    assert any("audio" in name for name in grown), grown


def counters(text: str) -> dict[str, float]:
    """Prometheus' text format, read strictly enough to notice when it is not."""
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    assert values and all(name.startswith(("hansard_", "process_")) for name in values)
    return values


def test_health(synthetic_server):
    assert synthetic_server.get("/healthz").status_code == 200
    assert synthetic_server.get("/readyz").status_code == 200
