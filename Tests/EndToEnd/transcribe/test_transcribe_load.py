"""The stand-in that only frames and counts speaks as the one does that checks everything."""

import asyncio

import pytest

from StandIns.transcribe import events
from transcribe import TEMPORARY_KEY, TranscribeLoad, items_of
from transcribe_client import TranscribeClient, chunks_of

SECOND = 32_000
FRAMING = len(events.audio_event(b""))


@pytest.mark.parametrize("size", [640, 3200, 8000, SECOND])
def test_answers_and_counts(size):
    async def talk(endpoint):
        async with TranscribeClient(endpoint, TEMPORARY_KEY) as client:
            seen = await client.stream(chunks_of(bytes(12 * SECOND), size))
            return seen, client.close_code

    with TranscribeLoad(partial_ms=1000, final_ms=5000) as load:
        seen, code = asyncio.run(talk(load.url))
        counters = load.stop()
    assert code == 1000 and not (seen.invalid or seen.exceptions or seen.unknown_events)
    ends = [(result["IsPartial"], result["EndTime"]) for result in seen.results]
    assert ends == [(second not in (5, 10), second) for second in range(1, 13)] + [(False, 12.0)]
    assert all(len(items_of([result])) == 10 for result in seen.results)
    assert [items_of([final])[0]["StartTime"] for final in seen.finals] == [0.0, 5.0, 10.0]
    assert len({result["ResultId"] for result in seen.results}) == 3
    frames = 12 * SECOND // size + 1
    assert counters == {
        "opened": 1, "open": 0, "frames": frames, "bytes": 12 * SECOND + frames * FRAMING,
        "audio_bytes": 12 * SECOND, "partials": 10, "finals": 3, "ended": 1, "invalid": 0, "unsent": 0,
    }  # fmt: skip


def test_counts_many_streams_and_tells_meanwhile():
    async def talk(load):
        async def one(number):
            async with TranscribeClient(load.url) as client:
                seen = await client.stream(chunks_of(bytes(6 * SECOND), 3200))
                return len(seen.finals), client.close_code

        async with TranscribeClient(load.url) as waiting:
            await waiting.send(bytes(3200))
            assert await asyncio.gather(*map(one, range(40))) == [(2, 1000)] * 40
            return load.counters()

    with TranscribeLoad() as load:
        counters = asyncio.run(talk(load))
    assert (counters["opened"], counters["open"], counters["ended"]) == (41, 1, 40)
    assert counters["audio_bytes"] == 40 * 6 * SECOND + 3200


@pytest.mark.parametrize("frame", [b"", b"\0" * 15, events.audio_event(b"\1\1") + b"\0", "text"])
def test_closes_on_what_is_no_frame(frame):
    async def talk(endpoint):
        async with TranscribeClient(endpoint) as client:
            await client.socket.send(frame)
            await client.closed()
            return client.close_code

    with TranscribeLoad() as load:
        assert asyncio.run(talk(load.url)) == 1002
        assert load.stop()["invalid"] == 1
