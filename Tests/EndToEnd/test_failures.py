"""What the server depends on goes away, or the server itself: sessions go on where they can, nothing said is lost."""

import re
import subprocess
import threading

import pytest
import requests

import speech
from listen import LINEAR16, ListenSession, handshake, refusal, text_of, token, transcript_of
from processes import wait_until
from server import is_root

INTERIM = LINEAR16 | {"interim_results": "true"}


def kept_text(document: dict) -> str:
    return " ".join(final["transcript"] for final in document["results"] if final["transcript"])


def status_of_ready(server) -> int | None:
    try:
        return server.get("/readyz").status_code
    except requests.RequestException:
        return None


# Postgres


def test_postgres_goes_away_under_a_session(own_server, cluster):
    server = own_server(
        HANSARD_ENGINE="pocketsphinx", HANSARD_DATABASE_URL=cluster.url, HANSARD_DATABASE_OWNER_URL=cluster.url
    )
    phrase = speech.joined("goforward.wav", 1.5).tobytes()
    with ListenSession(server, INTERIM) as session:
        session.send(phrase, pace=2)
        session.wait_for(lambda message: message.get("is_final") and transcript_of(message))
        before = len(session.finals())
        cluster.stop()
        wait_until(lambda: status_of_ready(server) == 503, 20, "the server says that it is not ready")
        refusal(handshake(server, headers=token(server.key)), 503)
        session.send(phrase, pace=2)
        # The session goes on, and ends in good order, although its state cannot be written.
        session.finish()
        assert text_of(session.finals()[before:]), "finals without the database"
    cluster.start()
    wait_until(lambda: status_of_ready(server) == 200, 30, "the server is ready again")
    assert server.end_of(session.request_id) == "completed"
    usage = wait_until(lambda: server.database().usage(session.request_id), 30, "the usage row is there")
    assert usage["audio_ms"] == 2 * len(phrase) // 2 * 1000 // speech.RATE
    assert kept_text(server.transcript(session.request_id)) == session.text()
    server.wait_for_quiet()


# The disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of one megabyte."""
    if not is_root():
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_the_transcript_disk_is_full(own_server, small_disk):
    server = own_server(HANSARD_TRANSCRIPTS=str(small_disk))
    filler = small_disk / "filler"
    fill(filler)
    with ListenSession(server, INTERIM) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    assert server.database().session_state(session.request_id) in ("storing", "completed")
    filler.unlink()
    assert server.end_of(session.request_id, 60) == "completed"
    assert kept_text(server.transcript(session.request_id)) == session.text()
    assert any(small_disk.rglob("*")), "the transcript is where it belongs"
    server.wait_for_quiet()


def fill(file) -> None:
    with file.open("wb", buffering=0) as output:
        size = 65536
        while size:
            try:
                output.write(bytes(size))
            except OSError:
                size //= 2


# The server


def test_the_server_is_killed_in_mid_speech(own_server):
    server = own_server(HANSARD_ENGINE="pocketsphinx")
    clip = speech.joined("goforward.wav", 1.0, "librivox-0880.wav", 1.0, "librivox-0930.wav", 1.0, "jfk.wav")
    session = ListenSession(server, INTERIM)
    sender = threading.Thread(target=send_until_broken, args=(session, clip.tobytes()), daemon=True)
    sender.start()
    wait_until(lambda: len(list(filter(transcript_of, session.finals()))) >= 2, 60, "two finals have come")
    server.kill()
    sender.join(30)
    session.wait_closed()
    received = session.text()
    server.start()
    assert server.end_of(session.request_id) == "interrupted"
    document = server.transcript(session.request_id)
    assert document["complete"] is False
    assert kept_text(document).startswith(received)
    usage = wait_until(lambda: server.database().usage(session.request_id), 30, "the usage row is there")
    assert usage["audio_ms"] <= len(clip) * 1000 // speech.RATE
    server.wait_for_quiet()
    with ListenSession(server) as another:
        another.send(speech.pcm("goforward.wav"))
        another.finish()


def send_until_broken(session: ListenSession, audio: bytes) -> None:
    try:
        session.send(audio, pace=1.5)
    except Exception:
        return  # the server is gone, as it should be


def test_sigterm_leaves_no_process_behind(own_server):
    server = own_server(HANSARD_ENGINE="pocketsphinx")
    with ListenSession(server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    assert server.stop() == 0
    assert server.survivors() == []


def test_a_second_start_keeps_what_the_first_made(own_server):
    server = own_server()
    key = server.key
    with ListenSession(server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    first = server.transcript(session.request_id)
    server.stop()
    server.start()
    assert server.key == key
    assert server.transcript(session.request_id) == first


def test_sigterm_under_a_running_session(own_server):
    """New sessions are refused; the running one ends with what was said stored."""
    server = own_server(HANSARD_ENGINE="pocketsphinx", HANSARD_DRAIN_DEADLINE="2s")
    with ListenSession(server, INTERIM) as session:
        session.send(speech.joined("goforward.wav", 1.5).tobytes(), pace=2)
        session.wait_for(lambda message: message.get("is_final") and transcript_of(message))
        server.note_processes()
        server.subprocess.terminate()
        code, reason = session.wait_closed(90)
        assert (code, reason) == (1012, "node restarting")
    assert server.subprocess.wait(40) == 0
    assert server.survivors() == []
    server.start()
    assert kept_text(server.transcript(session.request_id)).startswith(session.text())


def test_dev_env_is_private_and_complete(own_server):
    server = own_server()
    assert (server.state_dir / "dev.env").stat().st_mode & 0o777 == 0o600
    assert server.dev_env["HANSARD_URL"] == server.url
    assert re.fullmatch(r"hsk_(live|test)_[0-9A-Za-z]{49}", server.dev_env["HANSARD_API_KEY"])
    assert server.dev_env["HANSARD_ADMIN_TOKEN"].startswith("hsa_")
