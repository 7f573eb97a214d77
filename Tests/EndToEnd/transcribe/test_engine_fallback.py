"""Amazon Transcribe fails for good: the local engine goes on with the session, from the last final on."""

import pytest

import speech
from relayed import Relayed, engine_counts, models, texts
from schemas import check_conversation
from server import Server
from transcribe import TranscribeStandIn

# As the server's model_info names them.
FIRST, SECOND = "amazon-transcribe", "pocketsphinx"
SPEED = 2
PHRASE, REST = "goforward.wav", "librivox-0880.wav"


@pytest.fixture(scope="module")
def running():
    with (
        TranscribeStandIn(mode="words", pace_rate=2 * SPEED, lead_seconds=5.0 * SPEED) as stand_in,
        Server(
            HANSARD_ENGINE="amazon-transcribe", HANSARD_FALLBACK_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="2",
            HANSARD_ENGINE_SPEED=str(SPEED), **stand_in.environment(),
        ) as server,
    ):
        yield Relayed(stand_in, server, SPEED)


@pytest.fixture
def relay(running) -> Relayed:
    running.stand_in.reset()
    yield running
    running.server.wait_for_quiet()


def named(relay: Relayed, results: list[dict]) -> list[str]:
    """Who spoke, in order; the local engine's model has a name of its own."""
    return [FIRST if name == FIRST else SECOND for name in models(results)]


def both() -> bytes:
    return speech.joined(PHRASE, 1.5, REST, 1.5).tobytes()


def seconds_of(name: str) -> float:
    return len(speech.samples(name)) / speech.RATE


def test_in_mid_stream(relay):
    """The words of the first stay as they were given; what came after its last final is the second's."""
    middle = seconds_of(PHRASE) + 1.5 + seconds_of(REST) / 2
    relay.stand_in.fault("exception", at=middle, exception="ServiceUnavailableException")
    for stream in range(2, 30):
        relay.stand_in.fault("refuse", status=503, stream=stream)
    warnings = len(relay.warnings())
    with relay.session() as session:
        session.send(both(), pace=SPEED)
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    assert named(relay, session.finals()) == [FIRST, SECOND]
    of_first = [one for one in session.finals() if one["metadata"]["model_info"]["name"] == FIRST]
    of_second = [one for one in session.finals() if one["metadata"]["model_info"]["name"] != FIRST]
    said = [item["Content"].lower() for result in relay.stand_in.stream(1)["finals"]
            for item in result["Alternatives"][0]["Items"] if item["Type"] == "pronunciation"]  # fmt: skip
    assert said and texts(of_first) == said
    reference = speech.words(speech.transcripts()[REST])
    assert speech.word_errors(reference, texts(of_second)) <= len(reference) // 2, texts(of_second)
    # The second's times go on where the first's were.
    first_word = of_second[0]["channel"]["alternatives"][0]["words"]
    assert not first_word or first_word[0]["start"] >= seconds_of(PHRASE) - 0.5
    assert relay.server.end_of(session.request_id) == "completed"
    assert not engine_counts(relay.server).reachable
    assert len(relay.warnings()) - warnings <= 4


def test_at_the_handshake(relay):
    for stream in range(1, 30):
        relay.stand_in.fault("refuse", status=503, stream=stream)
    with relay.session() as session:
        session.send(speech.joined(PHRASE, 1.5).tobytes(), pace=SPEED)
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    assert named(relay, session.finals()) == [SECOND]
    assert session.text() == speech.transcripts()[PHRASE]


def test_when_it_is_refused_at_once(relay):
    relay.stand_in.fault("refuse", status=403, times=None)
    with relay.session() as session:
        session.send(speech.joined(PHRASE, 1.5).tobytes(), pace=SPEED)
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    assert named(relay, session.finals()) == [SECOND]
    assert session.text() == speech.transcripts()[PHRASE]


def test_a_finalize_is_answered_by_the_second(relay):
    relay.stand_in.fault("refuse", status=503, times=None)
    with relay.session() as session:
        session.send(speech.pcm(PHRASE), pace=SPEED)
        session.finalize()
        answer = session.wait_for(lambda message: message.get("from_finalize"), 30)
        assert answer["is_final"]
        session.send(speech.joined(REST, 1.0).tobytes(), pace=SPEED)
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    assert sum(one["from_finalize"] for one in session.messages("Results")) == 1


def test_the_first_speaks_alone_while_it_works(relay):
    with relay.session() as session:
        session.send(both(), pace=SPEED)
        messages = session.finish(90)
    check_conversation(messages, session.request_id)
    assert models(session.finals()) == [FIRST]


def test_a_session_that_only_the_first_can_serve_ends_with_it(relay):
    """Redaction is a promise: who cannot keep it does not go on."""
    relay.stand_in.fault("refuse", status=403, times=None)
    with relay.session(redact="pci") as session:
        session.send(speech.pcm(PHRASE))
        assert session.wait_closed(30) == (1011, "engine unavailable")
    assert texts(session.finals()) == []
