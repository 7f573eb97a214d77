"""An unmodified SDK, real speech, and an Amazon Transcribe that hears real words: what it says is what arrives."""

import pytest

import sdk
import speech
from listen import transcript_of
from relayed import Relayed, models, texts, words_in
from schemas import check_conversation
from server import Server
from transcribe import TranscribeStandIn, items_of

OPTIONS = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000", "interim_results": "true"}
PIECES = ("goforward.wav", 1.0, "librivox-0880.wav", 1.0, "librivox-0930.wav", 1.0)
# Decoding takes a part of the machine's time: twice as fast as live, not more.
SPEED = 2


@pytest.fixture(scope="module")
def relay():
    with (
        TranscribeStandIn(mode="words", pace_rate=2 * SPEED, lead_seconds=5.0 * SPEED) as stand_in,
        Server(
            HANSARD_ENGINE="amazon-transcribe", HANSARD_ENGINE_SPEED=str(SPEED), **stand_in.environment()
        ) as server,
    ):
        yield Relayed(stand_in, server, SPEED)


@pytest.fixture(scope="module")
def live(relay):
    """The same stand-in behind a server that keeps the pace of speech."""
    with Server(HANSARD_ENGINE="amazon-transcribe", **relay.stand_in.environment()) as server:
        yield Relayed(relay.stand_in, server)


@pytest.fixture(scope="module")
def conversation(relay, tmp_path_factory) -> sdk.Transcription:
    clip = speech.write_wav(tmp_path_factory.mktemp("clip") / "clip.wav", speech.joined(*PIECES))
    return sdk.transcribe("7.17.0", relay.server, clip, OPTIONS, [{"audio": [0, None]}, "close"], pace=SPEED)


@pytest.fixture(scope="module")
def stream(relay, conversation) -> dict:
    (only,) = relay.stand_in.all_ended()
    return only


def test_it_ends_in_good_order(conversation):
    assert conversation.of("error") == [], conversation.errors
    assert conversation.close_code() == 1000
    check_conversation(conversation.raw())


def test_finals_are_those_of_the_service(conversation, stream):
    heard = words_in([message for message in conversation.raw() if message.get("is_final")])
    said = items_of(stream["finals"])
    assert said and [word["word"] for word in heard] == [item["Content"].lower() for item in said]
    for word, item in zip(heard, said, strict=True):
        assert word["start"] == pytest.approx(item["StartTime"], abs=0.0011)
        assert word["end"] == pytest.approx(item["EndTime"], abs=0.0011)
        assert word["confidence"] == pytest.approx(item["Confidence"], abs=0.0001)


def test_they_are_what_was_spoken(conversation):
    heard = speech.words(" ".join(transcript_of(final) for final in conversation.finals()))
    spoken = [word for piece in PIECES if isinstance(piece, str) for word in speech.words(speech.transcripts()[piece])]
    assert speech.word_errors(spoken, heard) <= len(spoken) // 2, heard


def test_interim_results_come_before_finals(conversation):
    """Before each final with words there is an interim result about its time."""
    interim_until = 0.0
    for result in conversation.raw():
        if result["type"] != "Results" or not transcript_of(result):
            continue
        if result["is_final"]:
            assert interim_until > result["start"], result
        else:
            interim_until = max(interim_until, result["start"] + result["duration"])
    assert any(not result["is_final"] for result in conversation.parsed("Results"))


def test_confidence_is_that_of_finals(conversation):
    for result in conversation.raw():
        if result["type"] == "Results" and transcript_of(result):
            assert (result["channel"]["alternatives"][0]["confidence"] > 0) == result["is_final"]


def test_the_engine_is_named(conversation):
    assert models([one for one in conversation.raw() if one["type"] == "Results"]) == ["amazon-transcribe"]
    info = conversation.raw()[0]["metadata"]["model_info"]
    assert info["arch"] == "amazon-transcribe"


def test_a_session_without_audio(relay):
    with relay.session() as session:
        messages = session.finish()
    assert [message["type"] for message in messages if message["type"] != "Results"] == ["Metadata"]


def test_punctuation_when_it_is_asked_for(relay):
    relay.stand_in.reset()
    with relay.session(punctuate="true") as session:
        session.send(speech.pcm("goforward.wav"), pace=SPEED)
        session.finish()
    (stream,) = relay.stand_in.all_ended()
    written = " ".join(result["Alternatives"][0]["Transcript"] for result in stream["finals"])
    assert session.text() == written
    words = words_in(session.finals())
    assert " ".join(word["punctuated_word"] for word in words) == written
    assert all(word["word"] == word["word"].lower() for word in words)


def test_without_interim_results_only_finals_come(relay):
    relay.stand_in.reset()
    with relay.session(interim_results="false") as session:
        session.send(speech.pcm("goforward.wav"), pace=SPEED)
        session.finish()
    (stream,) = relay.stand_in.all_ended()
    assert texts(session.finals()) == [item["Content"].lower() for item in items_of(stream["finals"])]
    assert all(result["is_final"] for result in session.messages("Results"))


def test_pauses_are_told_where_they_are(live):
    """Of two seconds, live: the gap between words is told before somebody speaks again."""
    pieces = ("goforward.wav", "librivox-0880.wav", "librivox-0930.wav")
    clip = speech.joined(2.0, *(part for piece in pieces for part in (piece, 2.0)))
    with live.session(vad_events="true", utterance_end_ms="1000", endpointing="300") as session:
        session.send(clip.tobytes(), pace=1)
        check_conversation(session.finish(), session.request_id)
    spoken = speech.stretches(clip, shortest_pause=0.3)
    begun = [message["timestamp"] for message in session.messages("SpeechStarted")]
    ended = [message["last_word_end"] for message in session.messages("UtteranceEnd")]
    assert begun == pytest.approx([stretch.start for stretch in spoken], abs=0.2)
    assert ended == pytest.approx([stretch.end for stretch in spoken], abs=0.2)
