"""Amazon Transcribe does not take a stream: what passes is waited for, what does not is told by one close."""

import threading

import pytest

from processes import wait_until
from relayed import block_words, blocks, check_blocks, texts
from schemas import check_conversation

UNAVAILABLE = (1011, "engine unavailable")
SECONDS = 11.2
MID_SPEECH = 6.5
LINES = 3

PASSING = {
    "403": {"action": "refuse", "status": 403},
    "429": {"action": "refuse", "status": 429},
    "500": {"action": "refuse", "status": 500},
    "503": {"action": "refuse", "status": 503},
    "dropped": {"action": "drop"},
    "no answer": {"action": "hang"},
}
# Asking again does not help.
LASTING = {
    "403": {"status": 403},
    "400": {"status": 400},
    "an expired token": {"status": 403, "exception": "ExpiredTokenException"},
}


@pytest.mark.parametrize("name", PASSING)
def test_a_refusal_that_passes_is_not_seen(relay, name):
    before = relay.counts()
    relay.stand_in.fault(**PASSING[name])
    with relay.session() as session:
        session.send(blocks(SECONDS), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(SECONDS))
    assert [report["accepted"] for report in relay.stand_in.all_ended()] == [False, True]
    after = relay.counts()
    assert after.unsuccessful == before.unsuccessful + 1 and after.reachable
    if name == "429":
        assert after.limited == before.limited + 1


@pytest.mark.parametrize("name", LASTING)
def test_a_refusal_that_lasts_ends_the_session(relay, name):
    before, lines = relay.counts(), len(relay.warnings())
    relay.stand_in.fault("refuse", times=None, **LASTING[name])
    with relay.session() as session:
        session.send(blocks(1))
        assert session.wait_closed(20) == UNAVAILABLE
    assert texts(session.finals()) == []
    after = relay.counts()
    assert not after.reachable and after.refused > before.refused
    assert len(relay.warnings()) - lines <= LINES
    assert relay.server.end_of(session.request_id) == "failed"


def test_it_is_reachable_again_after_it_was_not(relay):
    relay.stand_in.fault("refuse", status=403, times=None)
    with relay.session() as session:
        session.send(blocks(1))
        session.wait_closed(20)
    assert not relay.counts().reachable
    relay.stand_in.clear_faults()
    with relay.session() as session:
        session.send(blocks(3), pace=relay.pace)
        session.finish()
    check_blocks(session.finals(), block_words(3))
    assert relay.counts().reachable


def test_what_was_final_stays_when_the_service_refuses_in_mid_speech(relay):
    """Finals that were given are stored, and what the client saw last is kept with them: nobody will hear it again."""
    relay.stand_in.fault("exception", at=MID_SPEECH, exception="AccessDeniedException")
    relay.stand_in.fault("refuse", status=403, times=None, stream=2)
    relay.stand_in.fault("refuse", status=403, times=None, stream=3)
    relay.stand_in.fault("refuse", status=403, times=None, stream=4)
    with relay.session() as session:
        sender = threading.Thread(target=send_until_closed, args=(session, blocks(30), relay.pace), daemon=True)
        sender.start()
        assert session.wait_closed(20) == UNAVAILABLE
        sender.join(20)
    shown = texts([one for one in session.messages("Results") if not one["is_final"]][-1:])
    assert shown and shown[0] == "b000056"
    given = [word for word in block_words(SECONDS) if word < "b000056"] + shown
    check_blocks(session.finals(), given)
    kept = [word["word"] for final in relay.server.transcript(session.request_id)["results"] for word in final["words"]]
    assert kept == given
    assert relay.server.end_of(session.request_id) == "failed"


def send_until_closed(session, audio: bytes, pace: float) -> None:
    try:
        session.send(audio, pace=pace)
    except Exception:
        return  # closed, as it should be


def test_a_limit_is_waited_for(relay):
    """429 for some seconds, and the same as an exception on the first stream: attempts become rare."""
    before = relay.counts()
    relay.stand_in.fault("exception", at=MID_SPEECH, exception="LimitExceededException")
    with relay.session() as session:
        session.send(blocks(MID_SPEECH + 0.5), pace=relay.pace)
        relay.stand_in.fault("refuse", status=429, times=None, seconds=6)
        rest = round((MID_SPEECH + 0.5) * 10)
        session.send(blocks(SECONDS)[rest * 3_200 :], pace=relay.pace)
        messages = session.finish(60)
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(SECONDS))
    refused = [report for report in relay.stand_in.all_ended() if not report["accepted"]]
    assert 1 <= len(refused) <= 4
    assert relay.counts().limited == before.limited + 1 + len(refused)


def test_a_client_that_goes_while_the_service_does_not_answer(relay):
    """What it said is heard all the same, and then nothing is left of its session."""
    relay.stand_in.fault("hang")
    with relay.session() as session:
        session.send(blocks(3))
        wait_until(relay.stand_in.streams, 20, "the service is asked")
        session.abort()
    assert relay.server.end_of(session.request_id) == "interrupted"
    results = relay.server.transcript(session.request_id)["results"]
    assert [word["word"] for final in results for word in final["words"]] == block_words(3)
    relay.server.wait_for_quiet()


def test_a_client_that_ends_while_the_service_is_not_there_yet(relay):
    """Its audio is heard, and then comes the end."""
    relay.stand_in.fault("refuse", status=503, times=2)
    with relay.session() as session:
        session.send(blocks(3))
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(3))
