"""What the server tells about itself: enough to follow a session, and never a secret."""

import pytest

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
        "secret": server.settings["HANSARD_SECRET"],
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
    assert {record["message"] for record in found} >= {"session started", "session ended"}
    tenant = str(synthetic_server.database().query("SELECT tenant_id FROM tenants WHERE name = 'demo'")[0][0])
    assert {record["tenant_id"] for record in found} == {tenant}
    assert {record["session_id"] for record in found} == {record["request_id"] for record in found} == {
        session.request_id
    }


def test_metrics_can_be_scraped(synthetic_server):
    before = counters(synthetic_server.metrics())
    with ListenSession(synthetic_server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    after = counters(synthetic_server.metrics())
    assert after.keys() >= before.keys()
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert grown >= {
        "hansard_sessions_started_total",
        'hansard_sessions_ended_total{state="completed"}',
        "hansard_audio_seconds_total",
        "hansard_audio_messages_total",
        'hansard_results_total{kind="final"}',
        "hansard_first_result_seconds_count",
        "hansard_close_seconds_count",
        "hansard_claim_seconds_count",
        "hansard_spool_seconds_count",
        "hansard_received_bytes_total",
    }
    assert after["hansard_audio_seconds_total"] - before["hansard_audio_seconds_total"] == pytest.approx(
        len(speech.samples("goforward.wav")) / speech.RATE, abs=0.001
    )
    now = {name for name in after if not name.split("{")[0].endswith(("_total", "_bucket", "_sum", "_count"))}
    assert now >= {
        "hansard_sessions_active", "hansard_loop_stall_seconds", "hansard_spool_bytes", "hansard_settlement_backlog",
        *(f'hansard_store_reachable{{store="{store}"}}' for store in ("connections", "transcripts", "usage")),
    }


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
