"""Amazon Transcribe fails in mid-speech in each way it has: the client gets every word once, and sees nothing of it."""

import pytest

from relayed import FALSE_WORD, block_words, blocks, check_blocks, texts
from schemas import check_conversation

SECONDS = 11.2
# In the middle of the third utterance, from 5.6 s to 7.6 s.
MID_SPEECH = 6.5
# So many lines one failure may log.
LINES = 3

FAILURES = {
    "internal failure": {"action": "exception", "exception": "InternalFailureException"},
    "service unavailable": {"action": "exception", "exception": "ServiceUnavailableException"},
    "limit exceeded": {"action": "exception", "exception": "LimitExceededException"},
    "no audio for 15 s": {
        "action": "exception", "exception": "BadRequestException",
        "message": "Your request timed out because no new audio was received for 15 seconds.",
    },
    "bad request, once": {"action": "exception", "exception": "BadRequestException"},
    "conflict": {"action": "exception", "exception": "ConflictException"},
    "an exception that nobody knows": {"action": "exception", "exception": "TeapotException"},
    "an exception without JSON": {"action": "exception", "payload": "<html>Oops</html>"},
    "an exception without a payload": {"action": "exception", "payload": ""},
    "a prelude with a wrong checksum": {"action": "wrong-prelude-checksum"},
    "a message with a wrong checksum": {"action": "wrong-checksum"},
    "half a message": {"action": "cut-message"},
    "half a frame": {"action": "cut-frame"},
    "text": {"action": "text"},
    "closed with 1011": {"action": "close", "code": 1011},
    "reset": {"action": "reset"},
}  # fmt: skip
# Nothing to be troubled about.
HARMLESS = {
    "an event that nobody knows": {"action": "unknown-event"},
    "no results": {"action": "empty-results"},
}


def conversation(relay, seconds: float = SECONDS) -> list[dict]:
    """A session of so many seconds that ends in good order and gives every word once, in its time."""
    with relay.session() as session:
        session.send(blocks(seconds), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(seconds))
    assert FALSE_WORD not in texts(session.messages("Results"))
    return messages


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_in_mid_speech_is_not_seen(relay, name):
    before, lines = relay.counts(), len(relay.warnings())
    fault = relay.stand_in.fault(**FAILURES[name], at=MID_SPEECH)
    conversation(relay)
    first, second = relay.stand_in.all_ended()
    assert first["faults"] == [fault["action"]]
    # The second heard on from the last final: the failure came 0.9 s into an utterance that began 0.8 s after it.
    assert second["audio_seconds"] < SECONDS - 4.8 + 2
    after = relay.counts()
    assert after.unsuccessful == before.unsuccessful + 1
    assert after.worked > before.worked and after.reachable
    assert len(relay.warnings()) - lines <= LINES


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_changes_nothing(relay, name):
    before = relay.counts()
    relay.stand_in.fault(**HARMLESS[name], at=MID_SPEECH)
    conversation(relay)
    (only,) = relay.stand_in.all_ended()
    assert only["faults"]
    assert relay.counts().unsuccessful == before.unsuccessful


def test_a_clean_close_in_mid_speech_is_not_the_end(relay):
    before = relay.counts()
    relay.stand_in.fault("close", at=MID_SPEECH)
    conversation(relay)
    assert len(relay.stand_in.all_ended()) == 2
    assert relay.counts().reachable and relay.counts().unsuccessful == before.unsuccessful


def test_a_clean_close_when_the_audio_ended_and_its_last_words_have_not_come(relay):
    relay.stand_in.fault("close", at="end")
    # It ends in the middle of an utterance.
    conversation(relay, seconds=7)
    assert len(relay.stand_in.all_ended()) == 2


def test_a_failure_when_the_audio_has_ended(relay):
    relay.stand_in.fault("exception", at="end")
    conversation(relay, seconds=7)
    assert len(relay.stand_in.all_ended()) == 2


def test_one_failure_after_the_other(relay):
    """Every stream fails after 3 s of audio: there is always a final before that, so it goes on."""
    relay.stand_in.fault("reset", at=3, times=None)
    lines = len(relay.warnings())
    with relay.session() as session:
        session.send(blocks(SECONDS), pace=relay.pace)
        relay.stand_in.clear_faults()
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(SECONDS))
    assert len(relay.stand_in.all_ended()) >= 3
    # Each stream that works and fails may be told, not each message.
    assert len(relay.warnings()) - lines <= len(relay.stand_in.streams()) * LINES


def test_a_final_is_asked_for_in_vain(relay):
    """The service gives no finals: what was understood last counts after a moment, and the client is answered once."""
    relay.stand_in.fault("partials-only")
    with relay.session() as session:
        session.send(blocks(1.5, speech=1.5), pace=relay.pace)
        session.finalize()
        answer = session.wait_for(lambda message: message.get("from_finalize"), 10)
        assert answer["is_final"]
        # Partials come each 500 ms of audio, so the last has them all.
        check_blocks(session.finals(), block_words(1.5, speech=1.5))
        session.send(blocks(1.5, start=15, speech=1.5), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(3, speech=3))
    assert sum(one["from_finalize"] for one in session.messages("Results")) == 1
