"""Clients that leave, that come in crowds, and that do not listen: nothing stays open, and what was said is kept."""

import json
import resource
import selectors
import signal
import socket
import time

import sdk
import speech
from listen import (
    LINEAR16,
    ListenSession,
    RawSession,
    handshake,
    handshake_headers,
    listen_path,
    refusal,
    text_of,
    token,
    transcript_of,
)
from processes import open_files, wait_until

# Who leaves is heard, whoever listens.
EVERY_ENGINE = True
INTERIM = LINEAR16 | {"interim_results": "true"}
CROWD = 1000


def kept_text(document: dict) -> str:
    return " ".join(final["transcript"] for final in document["results"] if final["transcript"])


def test_a_killed_client(speech_server):
    """kill -9 of a real SDK, in the middle of the second phrase."""
    wav = speech.write_wav(speech_server.folder / "killed.wav", speech.joined("goforward.wav", 1.5, "jfk.wav"))
    driver = sdk.start("7.17.0", speech_server, wav, INTERIM, [{"audio": [0, None]}, "close"])
    finals = []
    for line in driver.stdout:
        event = json.loads(line)
        if event["event"] == "raw" and event["message"].get("is_final"):
            finals.append(event["message"])
        if text_of(finals):
            break
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    driver.stderr.close()
    check_interrupted(speech_server, finals)


def test_a_reset_connection(speech_server):
    with ListenSession(speech_server, INTERIM) as session:
        session.send(speech.joined("goforward.wav", 1.5).tobytes(), pace=2)
        session.wait_for(lambda message: message.get("is_final") and transcript_of(message))
        session.send(speech.pcm("librivox-0880.wav"))
        finals = session.finals()
        session.abort()
    check_interrupted(speech_server, finals)


def check_interrupted(server, finals: list[dict]) -> None:
    session_id = finals[0]["metadata"]["request_id"]
    assert server.end_of(session_id) == "interrupted"
    document = server.transcript(session_id)
    assert document["complete"] is False
    assert kept_text(document).startswith(text_of(finals))
    usage = server.usage(session_id)
    assert usage["audio_ms"] == document["audio_ms"] > 0
    server.wait_for_quiet()


def test_a_client_that_never_reads(own_server):
    """Finalize is answered each time, so a small sender makes a lot to read; its own server, for its queue may be large."""
    server = own_server()
    with RawSession(server, receive_buffer=4096) as session:
        send_finalizes(server, session, seconds=60)
        assert server.end_of(session.request_id) == "interrupted"
        assert server.database().session_reason(session.request_id) == "client too slow"
    with ListenSession(server) as another:
        another.send(speech.pcm("goforward.wav"))
        another.finish()
    server.wait_for_quiet()


def send_finalizes(server, session: RawSession, seconds: float) -> None:
    """Sends until the server has ended the session, or the time is over. It may stop reading, but not for ever."""
    audio = RawSession.frame(RawSession.BINARY, bytes(3200))
    finalizes = RawSession.frame(RawSession.TEXT, b'{"type": "Finalize"}') * 100
    waiting = b""
    session.socket.settimeout(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        waiting = waiting or audio + finalizes
        try:
            waiting = waiting[session.socket.send(waiting) :]
        except TimeoutError:
            if server.database().session_state(session.request_id) not in (None, "active"):
                return
        except OSError:
            return


def test_a_thousand_handshakes_and_no_audio(own_server):
    """Each is answered; each that was let in is closed for its silence; then the server is as it was."""
    server = own_server()
    raise_file_limit(3 * CROWD)
    files_before = open_files(server.pid)
    answers = crowd(server)
    assert len(answers) == CROWD
    # 429 where the limit of handshakes per address applies.
    assert set(answers.values()) <= {101, 429, 503}, set(answers.values())
    assert 101 in answers.values()
    closing = [one for one, status in answers.items() if status == 101]
    for one in closing:
        one.settimeout(40)
        assert drain(one).endswith(b"See https://dpgr.am/net0001"), "closed without saying why"
    for one in answers:
        one.close()
    server.wait_for_quiet()
    wait_until(lambda: open_files(server.pid) <= files_before + 10, 30, "its sockets are closed")
    wait_until(lambda: completes_a_session(server), 90, "a new client gets in")


def crowd(server) -> dict[socket.socket, int]:
    """Opens the connections all at once; each socket with the status it was answered."""
    headers = handshake_headers() | token(server.key) | {"Host": "127.0.0.1"}
    request = f"GET {listen_path(LINEAR16)} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items())
    waiting = selectors.DefaultSelector()
    for _ in range(CROWD):
        one = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        one.sendall(request.encode() + b"\r\n")
        waiting.register(one, selectors.EVENT_READ)
    answers: dict[socket.socket, int] = {}
    deadline = time.monotonic() + 60
    while waiting.get_map() and time.monotonic() < deadline:
        for ready, _ in waiting.select(1):
            waiting.unregister(ready.fileobj)
            line = ready.fileobj.recv(12)
            answers[ready.fileobj] = int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
    waiting.close()
    return answers


def drain(one: socket.socket) -> bytes:
    """All that comes until the other side closes; a close frame is answered, as the protocol wants."""
    received = b""
    while piece := one.recv(65536):
        received += piece
        if received.endswith(b"net0001"):
            one.sendall(RawSession.frame(RawSession.CLOSE, b"\x03\xf3"))
            return received
    return received


def completes_a_session(server) -> bool:
    try:
        with ListenSession(server) as session:
            session.send(bytes(3200))
            return session.finish()[-1]["type"] == "Metadata"
    except Exception:
        return False


def raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def test_at_capacity_new_sessions_are_refused_and_running_ones_go_on(own_server):
    server = own_server(HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="2")
    with ListenSession(server) as first, ListenSession(server) as second:
        first.send(bytes(3200))
        second.send(bytes(3200))
        refusal(handshake(server, headers=token(server.key)), 503)
        first.finish()
        second.finish()
    wait_until(lambda: handshake(server, headers=token(server.key)).status == 101, 10, "a slot is free again")
