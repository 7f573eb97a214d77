"""Long streams on an accelerated clock: the service's limit and its failures leave no trace in words and times."""

import pytest

from relayed import Relayed, block_words, blocks, check_blocks, words_in
from schemas import check_conversation
from server import Server
from transcribe import TranscribeStandIn

SPEED = 60
# Long utterances: a limit is reached within one as well as in a pause.
SPEECH, PAUSE = 12.0, 0.8


class Hours:
    """So many seconds of audio; the limit is such that two roll-overs and three failures fit in."""

    def __init__(self, seconds: int, limit: int, failures: dict[int, float]):
        self.seconds, self.limit, self.failures = seconds, limit, failures

    def session(self, relay: Relayed) -> list[dict]:
        with relay.session(interim_results="false") as session:
            session.send(blocks(self.seconds, speech=SPEECH, pause=PAUSE), pace=SPEED, milliseconds=1000)
            messages = session.finish(120)
        check_conversation(messages, session.request_id)
        assert messages[-1]["duration"] == pytest.approx(self.seconds, abs=0.001)
        assert relay.server.usage(session.request_id)["audio_ms"] == self.seconds * 1000
        return session.finals()


# The first and third streams come to their limit; the others fail, each after so many seconds of audio.
SIX_MINUTES = Hours(360, limit=130, failures={2: 10.3, 4: 20.5, 5: 15.7})
AN_HOUR = Hours(3600, limit=1300, failures={2: 100.3, 4: 200.5, 5: 300.7})


@pytest.fixture(scope="module")
def stand_in():
    # The service's own rules at this clock, but for the silence after which it would give up: a busy machine may be
    # late by a quarter of a second. The burst that is allowed to clients grows with the clock.
    with TranscribeStandIn(
        mode="blocks", speed=SPEED, pace_rate=2, lead_seconds=5.0 * SPEED, idle_seconds=900
    ) as stand_in:
        yield stand_in


def server_of(stand_in: TranscribeStandIn, **settings: str) -> Server:
    return Server(
        HANSARD_ENGINE="amazon-transcribe", HANSARD_ENGINE_SPEED=str(SPEED), **stand_in.environment(), **settings
    )


@pytest.fixture(scope="module")
def undisturbed_server(stand_in):
    with server_of(stand_in) as server:
        yield server


@pytest.mark.parametrize(
    "hours", [pytest.param(SIX_MINUTES, id="six minutes"), pytest.param(AN_HOUR, id="an hour", marks=pytest.mark.long)]
)
def test_roll_overs_and_failures_change_nothing(stand_in, undisturbed_server, hours):
    stand_in.reset()
    undisturbed = hours.session(Relayed(stand_in, undisturbed_server))
    assert len(stand_in.all_ended()) == 1
    stand_in.reset()
    # Beyond the limit that the server keeps, the service ends the stream.
    stand_in.change(max_stream_seconds=hours.limit + 5.0)
    for number, at in hours.failures.items():
        stand_in.fault("reset", stream=number, at=at)
    with server_of(stand_in, HANSARD_TRANSCRIBE_STREAM_LIMIT=f"{hours.limit}s") as server:
        finals = hours.session(Relayed(stand_in, server))
    check_blocks(finals, block_words(hours.seconds, speech=SPEECH, pause=PAUSE))
    of = ("word", "start", "end", "confidence")
    assert [[word[name] for name in of] for word in words_in(finals)] == [
        [word[name] for name in of] for word in words_in(undisturbed)
    ]
    streams = stand_in.all_ended()
    assert [stream["number"] for stream in streams if stream["faults"]] == list(hours.failures)
    assert len(streams) == 6
    for rolled in (streams[0], streams[2]):
        assert hours.limit * 0.97 < rolled["audio_seconds"] <= hours.limit + 1
