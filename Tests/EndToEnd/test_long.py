"""Checks that take minutes: what only shows after many sessions, or after a long one."""

import asyncio
import audioop
import json

import pytest
from websockets.asyncio.client import connect

import speech
from listen import LINEAR16, ListenSession, listen_path, token
from processes import open_files, resident_bytes, wait_until
from schemas import check_conversation

pytestmark = pytest.mark.long

SESSIONS = 1000
ALLOWED_GROWTH = 8 * 1024 * 1024


def test_many_sessions_leave_nothing_behind(own_server):
    server = own_server()
    audio = speech.pcm("goforward.wav")

    def sessions(count: int) -> None:
        for _ in range(count):
            with ListenSession(server, LINEAR16 | {"interim_results": "true"}) as session:
                session.send(audio)
                session.finish()
        server.wait_for_quiet()

    sessions(SESSIONS // 10)  # what is allocated once is allocated now
    memory, files = resident_bytes(server.pid), open_files(server.pid)
    sessions(SESSIONS)
    assert resident_bytes(server.pid) - memory < ALLOWED_GROWTH
    wait_until(lambda: open_files(server.pid) <= files + 2, 30, "no file stays open")


def test_a_slot_forgets_what_it_heard(own_server):
    """One slot, every recording in turn, three times over and once backwards: always the same words."""
    server = own_server(HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="1")
    names = sorted(speech.transcripts())
    heard: dict[str, set[str]] = {name: set() for name in names}
    for name in [*names * 3, *reversed(names)]:
        with ListenSession(server) as session:
            session.send(speech.pcm(name))
            session.finish(seconds=120)
            heard[name].add(session.text())
        server.wait_for_quiet()
    assert all(len(texts) == 1 for texts in heard.values()), heard


def test_a_file_that_is_sent_at_once(speech_server):
    """Nine minutes of telephone audio, unpaced, by a client with the usual keep-alive of 20 s: it is heard to the end."""
    clip = speech.joined(*(["jfk.wav"] * 50))
    mulaw = audioop.lin2ulaw(audioop.ratecv(clip.tobytes(), 2, 1, speech.RATE, 8_000, None)[0], 2)
    path = listen_path(LINEAR16 | {"encoding": "mulaw", "sample_rate": "8000"})

    async def session() -> list[dict]:
        url = f"ws://127.0.0.1:{speech_server.port}{path}"
        async with connect(url, additional_headers=token(speech_server.key), proxy=None) as socket:
            for offset in range(0, len(mulaw), 8_000):
                await socket.send(mulaw[offset : offset + 8_000])
            await socket.send('{"type": "CloseStream"}')
            return [json.loads(text) async for text in socket]

    messages = asyncio.run(session())
    assert messages[-1]["type"] == "Metadata"
    assert messages[-1]["duration"] == pytest.approx(len(mulaw) / 8_000, abs=0.001)
    assert speech_server.transcript(messages[-1]["request_id"])["audio_ms"] == len(mulaw) // 8


def test_a_long_session(speech_server):
    """Eight minutes of speech with hardly a pause, at twice its pace: time adds up to the end."""
    names = sorted(speech.transcripts())
    clip = speech.joined(*(piece for _ in range(15) for piece in names))
    with ListenSession(speech_server, LINEAR16 | {"interim_results": "true"}) as session:
        session.send(clip.tobytes(), pace=2)
        messages = session.finish(seconds=120)
    check_conversation(messages, session.request_id)
    last = session.finals()[-1]
    assert last["start"] + last["duration"] == pytest.approx(len(clip) / speech.RATE, abs=0.011)
    assert speech_server.transcript(session.request_id)["audio_ms"] == len(clip) * 1000 // speech.RATE
