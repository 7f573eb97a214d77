"""What the service bills is counted apart from what the client sent: at least 15 s for each stream."""

import pytest

from relayed import block_words, blocks, check_blocks

LEAST_MS = 15_000


def engine_ms(relay, session) -> int:
    """Of the usage row, which the session's end brings."""
    relay.server.usage(session.request_id)
    ((value,),) = relay.server.database().query(
        f"SELECT engine_ms FROM usage_rows WHERE session_id = '{session.request_id}'"
    )
    return int(value)


def spoken(relay, seconds: float):
    with relay.session() as session:
        session.send(blocks(seconds), pace=relay.pace)
        session.finish()
    check_blocks(session.finals(), block_words(seconds))
    return session


@pytest.mark.parametrize("seconds", [3, 20])
def test_engine_time_of_one_stream(relay, seconds):
    session = spoken(relay, seconds)
    assert relay.server.usage(session.request_id)["audio_ms"] == seconds * 1000
    (stream,) = relay.stand_in.all_ended()
    assert engine_ms(relay, session) == pytest.approx(max(LEAST_MS, stream["audio_seconds"] * 1000), abs=1)


def test_engine_time_of_several_streams_is_their_sum(relay):
    relay.stand_in.fault("reset", at=6.5, stream=1)
    relay.stand_in.fault("close", at=18, stream=2)
    session = spoken(relay, 40)
    assert relay.server.usage(session.request_id)["audio_ms"] == 40_000
    streams = relay.stand_in.all_ended()
    assert len(streams) == 3
    billed = sum(max(LEAST_MS, stream["audio_seconds"] * 1000) for stream in streams)
    # Of a stream that was cut off we count what we sent, which may be more than what it saw.
    assert billed - 1 <= engine_ms(relay, session) <= billed + 1000 * relay.pace


def test_silence_that_keeps_a_stream_awake_is_billed_but_not_the_clients(relay):
    with relay.session() as session:
        session.send(blocks(20), pace=relay.pace)
        session.finalize()
        session.wait_for(lambda message: message.get("from_finalize"), 10)
        session.finish()
    (stream,) = relay.stand_in.all_ended()
    assert relay.server.usage(session.request_id)["audio_ms"] == 20_000
    assert stream["audio_seconds"] > 20
    assert engine_ms(relay, session) == pytest.approx(stream["audio_seconds"] * 1000, abs=1)


def test_a_session_without_audio_costs_nothing_but_its_stream(relay):
    with relay.session() as session:
        session.finish()
    assert relay.server.usage(session.request_id)["audio_ms"] == 0
    assert engine_ms(relay, session) == LEAST_MS * len(relay.stand_in.streams())


def test_a_stream_that_was_never_made_costs_nothing(relay):
    relay.stand_in.fault("refuse", status=503, times=2)
    session = spoken(relay, 3)
    assert engine_ms(relay, session) == LEAST_MS
