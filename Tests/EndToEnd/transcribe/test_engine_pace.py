"""Pauses, chunks of all sizes, and audio faster than live: Amazon Transcribe is sent it as it wants it."""

import asyncio
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import connect

from listen import ListenSession, listen_path, token
from processes import wait_until
from relayed import INTERIM, Relayed, block_words, blocks, check_blocks, keep_alive_for
from schemas import check_conversation
from server import Server
from transcribe import TranscribeStandIn

NET_0001 = (
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
# The service wants no more than this beyond what real time allows.
LEAD_SECONDS = 5.0
QUEUE_SECONDS = 60
AT_ONCE = 80


# Live: what takes minutes is done at the same time, each by a client of its own.


@pytest.fixture(scope="module")
def live():
    """At the pace of speech, with all of the service's own rules."""
    with (
        TranscribeStandIn(mode="blocks", lead_seconds=LEAD_SECONDS) as stand_in,
        Server(HANSARD_ENGINE="amazon-transcribe", **stand_in.environment()) as server,
    ):
        yield Relayed(stand_in, server)


@dataclass(frozen=True)
class Talk:
    """What became of a client, and the number of its stream."""

    client: Future
    number: int


@pytest.fixture(scope="module")
def talks(live):
    clients = (pause_with_keep_alive, pause_with_nothing, half_a_minute_at_once, more_than_may_wait)
    with ThreadPoolExecutor(len(clients)) as threads:
        talks = {}
        for number, client in enumerate(clients, 1):
            talks[client] = Talk(threads.submit(client, live), number)
            wait_until(lambda: len(live.stand_in.streams()) == number, 20, f"the stream of {client.__name__} is there")
        yield talks


def pause_with_keep_alive(live: Relayed) -> ListenSession:
    with live.session() as session:
        session.send(blocks(3), pace=1)
        keep_alive_for(session, 40)
        session.send(blocks(3, start=30), pace=1)
        check_conversation(session.finish(), session.request_id)
    return session


def pause_with_nothing(live: Relayed) -> tuple[ListenSession, tuple[int, str], float]:
    with live.session() as session:
        session.send(blocks(3), pace=1)
        before = time.monotonic()
        close = session.wait_closed(40)
    return session, close, time.monotonic() - before


def half_a_minute_at_once(live: Relayed) -> ListenSession:
    with live.session() as session:
        session.send(blocks(30))
        check_conversation(session.finish(90), session.request_id)
    return session


def more_than_may_wait(live: Relayed) -> tuple[list[dict], float]:
    """Its pings must be answered within 5 s, or it goes."""
    return asyncio.run(asyncio.wait_for(send_at_once(live, blocks(AT_ONCE)), AT_ONCE + 60))


async def send_at_once(live: Relayed, audio: bytes) -> tuple[list[dict], float]:
    async def received() -> list[dict]:
        return [json.loads(text) async for text in socket]

    url = f"ws://127.0.0.1:{live.server.port}{listen_path(INTERIM)}"
    headers = token(live.server.key)
    async with connect(url, additional_headers=headers, proxy=None, ping_interval=5, ping_timeout=5) as socket:
        before = time.monotonic()
        receiving = asyncio.create_task(received())
        for at in range(0, len(audio), 3_200):
            await socket.send(audio[at : at + 3_200])
        await socket.send('{"type": "CloseStream"}')
        return await receiving, time.monotonic() - before


def test_a_pause_of_40_s_with_keep_alive_alone(live, talks):
    talk = talks[pause_with_keep_alive]
    session = talk.client.result(150)
    # The pause takes no time on the client's clock.
    check_blocks(session.finals(), block_words(3) + block_words(3, start=30))
    assert session.messages()[-1]["duration"] == pytest.approx(6, abs=0.001)
    stream = live.stand_in.ended_stream(talk.number)
    assert stream["ended"] == "end of stream"
    # Silence kept it awake, and little of it: it is billed.
    assert 6 < stream["audio_seconds"] < 9


def test_a_pause_of_40_s_with_nothing(live, talks):
    talk = talks[pause_with_nothing]
    session, close, seconds = talk.client.result(150)
    assert close == (1011, NET_0001)
    assert 9 < seconds < 20
    # What was said before is not lost.
    check_blocks(session.finals(), block_words(3))
    assert live.stand_in.ended_stream(talk.number)["audio_ended"]
    assert live.server.end_of(session.request_id) == "interrupted"


def test_30_s_of_audio_sent_at_once(live, talks):
    talk = talks[half_a_minute_at_once]
    check_blocks(talk.client.result(150).finals(), block_words(30))
    stream = live.stand_in.ended_stream(talk.number)
    assert stream["max_lead"] <= LEAD_SECONDS
    # At the service's pace, but not slower than need be.
    assert stream["seconds"] == pytest.approx(30, abs=4)


def test_more_audio_than_may_wait_while_pings_are_answered(live, talks):
    """After a minute of audio nothing is read for a while, and still no ping of the client waits for 5 s."""
    talk = talks[more_than_may_wait]
    messages, seconds = talk.client.result(150)
    check_conversation(messages)
    check_blocks([one for one in messages if one["type"] == "Results" and one["is_final"]], block_words(AT_ONCE))
    assert live.stand_in.ended_stream(talk.number)["max_lead"] <= LEAD_SECONDS
    assert seconds > AT_ONCE - 2 * LEAD_SECONDS, "the service's pace was kept"


# Faster than live


@pytest.mark.parametrize("milliseconds", [20, 250])
def test_chunks_of(relay, milliseconds):
    with relay.session() as session:
        session.send(blocks(11.2), pace=relay.pace, milliseconds=milliseconds)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(11.2))
    (only,) = relay.stand_in.all_ended()
    # Of 50 ms to 200 ms, as the service advises, but what was left at the end.
    sizes = sorted((int(size), count) for size, count in only["chunk_bytes"].items())
    assert sum(count for size, count in sizes if not 1_600 <= size <= 6_400) <= 3, sizes


def test_chunks_of_odd_lengths_that_end_within_a_sample(relay):
    audio = blocks(5.6)
    with relay.session() as session:
        sizes = (1, 333, 3_201, 7, 5_555)
        offset = index = 0
        while offset < len(audio):
            size = sizes[index % len(sizes)]
            session.socket.send(audio[offset : offset + size])
            offset, index = offset + size, index + 1
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(5.6))


def test_the_client_is_held_back_beyond_a_minute(relay):
    """The service does not take a stream for a while: what waits is bounded, and all of it is heard then."""
    relay.stand_in.fault("refuse", status=503, times=4)
    seconds = QUEUE_SECONDS + 60
    with relay.session() as session:
        session.send(blocks(seconds))
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(seconds))
