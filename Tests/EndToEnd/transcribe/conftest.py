"""Stand-ins of Amazon Transcribe that the tests of this folder share, and that forget everything between them."""

import pytest

from relayed import Relayed
from server import Server
from transcribe import TranscribeStandIn


@pytest.fixture(scope="session")
def running_stand_in():
    with TranscribeStandIn(mode="blocks") as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(running_stand_in) -> TranscribeStandIn:
    """It hears indexed blocks, enforces all rules, and knows nothing of other tests."""
    running_stand_in.reset()
    yield running_stand_in
    errors = [report["error"] for report in running_stand_in.streams() if report["error"]]
    assert not errors, errors[0]


@pytest.fixture
def patient_stand_in(stand_in) -> TranscribeStandIn:
    """The same, but audio may come as fast as it can."""
    stand_in.change(lead_seconds=None)
    return stand_in


@pytest.fixture(scope="session")
def running_word_stand_in():
    with TranscribeStandIn(mode="words", lead_seconds=None) as stand_in:
        yield stand_in


@pytest.fixture
def word_stand_in(running_word_stand_in) -> TranscribeStandIn:
    """It hears real words, and audio may come as fast as it can."""
    running_word_stand_in.reset()
    return running_word_stand_in


@pytest.fixture
def own_stand_in():
    """Makes stand-ins that a test may stop; all are ended after it."""
    made: list[TranscribeStandIn] = []

    def make(*arguments, **settings) -> TranscribeStandIn:
        made.append(TranscribeStandIn(*arguments, **settings))
        return made[-1].start()

    yield make
    for stand_in in made:
        stand_in.clean_up()


# A server whose engine is a stand-in: eight times as fast as live, so that a test takes seconds.

ENGINE_SPEED = 8


@pytest.fixture(scope="module")
def running_relay():
    # What was held up may come at twice the pace.
    with (
        TranscribeStandIn(mode="blocks", pace_rate=2 * ENGINE_SPEED, lead_seconds=5.0 * ENGINE_SPEED) as stand_in,
        Server(
            HANSARD_ENGINE="amazon-transcribe", HANSARD_ENGINE_SPEED=str(ENGINE_SPEED), **stand_in.environment()
        ) as server,
    ):
        yield Relayed(stand_in, server, ENGINE_SPEED)


@pytest.fixture
def relay(running_relay) -> Relayed:
    """It relays to a stand-in that hears indexed blocks, enforces all rules, and knows nothing of other tests."""
    running_relay.stand_in.reset()
    yield running_relay
    errors = [report["error"] for report in running_relay.stand_in.streams() if report["error"]]
    assert not errors, errors[0]
