"""Hansard behind Hansard: the inner one's engine is the outer one's, through the listen protocol."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import speech
from listen import ListenSession, transcript_of
from relayed import INTERIM, engine_counts, keep_alive_for, models, words_in
from schemas import check_conversation
from server import Server

SPEED = 4
CLIP = ("goforward.wav", 1.5, "librivox-0880.wav", 1.5, "librivox-0930.wav", 1.5)


@pytest.fixture(scope="module")
def inner(speech_server) -> Server:
    return speech_server


@pytest.fixture(scope="module")
def outer(inner):
    with Server(
        HANSARD_ENGINE="deepgram", HANSARD_ENGINE_SPEED=str(SPEED),
        HANSARD_DEEPGRAM_URL=inner.url.replace("http", "ws"), HANSARD_DEEPGRAM_KEY=inner.key,
    ) as server:
        yield server


def heard(server: Server, clip: bytes, **parameters: str) -> ListenSession:
    with ListenSession(server, INTERIM | parameters) as session:
        session.send(clip, pace=SPEED)
        check_conversation(session.finish(90), session.request_id)
    return session


@pytest.fixture(scope="module")
def alone_and_chained(inner, outer) -> tuple[ListenSession, ListenSession]:
    clip = speech.joined(*CLIP).tobytes()
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(heard, server, clip) for server in (inner, outer)]
        alone, chained = (one.result(120) for one in both)
    return alone, chained


def test_finals_are_those_of_the_inner_one_alone(alone_and_chained):
    alone, chained = alone_and_chained
    expected, given = words_in(alone.finals()), words_in(chained.finals())
    assert expected and [word["word"] for word in given] == [word["word"] for word in expected]
    for one, other in zip(given, expected, strict=True):
        assert one["start"] == pytest.approx(other["start"], abs=0.0011)
        assert one["end"] == pytest.approx(other["end"], abs=0.0011)
        assert one["confidence"] == pytest.approx(other["confidence"], abs=0.0001)
    assert [transcript_of(one) for one in chained.finals() if transcript_of(one)] == [
        transcript_of(one) for one in alone.finals() if transcript_of(one)
    ]


def test_interim_results_come_too(alone_and_chained):
    interims = [one for one in alone_and_chained[1].messages("Results") if not one["is_final"] and transcript_of(one)]
    assert interims and transcript_of(interims[0])


def test_one_stream_was_enough(alone_and_chained, outer):
    counts = engine_counts(outer, "deepgram")
    assert counts.worked >= 1 and counts.unsuccessful == 0 and counts.reachable
    assert models(alone_and_chained[1].finals()) == ["deepgram"]


def test_finalize_passes_through(outer, inner):
    """It is answered before any pause, by the inner one's final."""
    with ListenSession(outer, INTERIM) as session:
        session.send(speech.pcm("goforward.wav"), pace=SPEED)
        asked = time.monotonic()
        session.finalize()
        session.wait_for(lambda message: message.get("from_finalize"), 10)
        assert time.monotonic() - asked < 5, "it did not wait for its deadline"
        assert session.text() == speech.transcripts()["goforward.wav"]
        session.send(speech.pcm("librivox-0880.wav"), pace=SPEED)
        messages = session.finish(60)
    check_conversation(messages, session.request_id)
    assert sum(one["from_finalize"] for one in session.messages("Results")) == 1
    reference = speech.words(speech.transcripts()["librivox-0880.wav"])
    after = speech.words(session.text())[len(speech.words(speech.transcripts()["goforward.wav"])) :]
    assert speech.word_errors(reference, after) <= len(reference) // 2


def test_keep_alive_passes_through(outer, inner):
    """A pause beyond the inner one's own 10 s."""
    before = engine_counts(outer, "deepgram")
    with ListenSession(outer, INTERIM) as session:
        session.send(speech.joined("goforward.wav", 1.0).tobytes(), pace=SPEED)
        keep_alive_for(session, 13)
        session.send(speech.joined("goforward.wav", 1.0).tobytes(), pace=SPEED)
        check_conversation(session.finish(60), session.request_id)
    assert session.text() == " ".join([speech.transcripts()["goforward.wav"]] * 2)
    after = engine_counts(outer, "deepgram")
    assert after.unsuccessful == before.unsuccessful and after.worked == before.worked + 1


def test_close_stream_passes_through(outer, inner):
    """The inner session ends in good order too, with the outer one's."""
    known = session_ids(inner)
    session = heard(outer, speech.pcm("goforward.wav"))
    assert session.text() == speech.transcripts()["goforward.wav"], "the last words came before the end"
    (made,) = session_ids(inner) - known
    assert inner.end_of(made) == "completed"
    assert outer.end_of(session.request_id) == "completed"


def session_ids(server: Server) -> set[str]:
    """Of sessions that ended, and of those that live."""
    rows = server.database().query("SELECT session_id FROM session_status UNION SELECT session_id FROM leases")
    return {row[0] for row in rows}


def test_two_channels_apart(inner, outer):
    stereo = bytearray(2 * len(speech.pcm("goforward.wav")))
    frames = memoryview(stereo).cast("h")
    frames[1::2] = memoryview(speech.samples("goforward.wav"))
    with ListenSession(outer, INTERIM | {"channels": "2", "multichannel": "true"}) as session:
        session.bytes_per_second *= 2
        session.send(bytes(stereo), pace=SPEED)
        check_conversation(session.finish(60), session.request_id)
    words = {channel: [word["word"] for word in words_in(session.finals(), channel)] for channel in (0, 1)}
    assert words == {0: [], 1: speech.words(speech.transcripts()["goforward.wav"])}


def test_the_inner_one_goes_away_in_mid_speech_and_comes_back(own_server):
    """What was final stays, and the rest is heard again."""
    inner = own_server(HANSARD_ENGINE="pocketsphinx")
    outer = own_server(
        HANSARD_ENGINE="deepgram", HANSARD_ENGINE_SPEED=str(SPEED), HANSARD_DEEPGRAM_KEY=inner.key,
        HANSARD_DEEPGRAM_URL=inner.url.replace("http", "ws"),
    )
    clip = speech.joined("goforward.wav", 1.5).tobytes()
    with ListenSession(outer, INTERIM) as session:
        session.send(clip, pace=SPEED)
        session.wait_for(lambda message: message.get("is_final") and transcript_of(message))
        inner.kill()
        session.send(clip, pace=SPEED)
        inner.start()
        keep_alive_for(session, 3)
        check_conversation(session.finish(90), session.request_id)
    spoken, said = 2 * speech.words(speech.transcripts()["goforward.wav"]), speech.words(session.text())
    # Whoever begins to listen in mid-stream may understand a word otherwise, but not one more or less.
    assert len(said) == len(spoken) and speech.word_errors(spoken, said) <= 1, said
    counts = engine_counts(outer, "deepgram")
    assert counts.failed >= 1 and counts.reachable


def test_a_key_that_the_inner_one_does_not_know(inner, own_server):
    wrong = inner.key[:-4] + "0000"
    outer = own_server(
        HANSARD_ENGINE="deepgram", HANSARD_DEEPGRAM_KEY=wrong, HANSARD_DEEPGRAM_URL=inner.url.replace("http", "ws")
    )
    with ListenSession(outer, INTERIM) as session:
        session.send(speech.pcm("goforward.wav"))
        assert session.wait_closed(20) == (1011, "engine unavailable")
    assert engine_counts(outer, "deepgram").refused >= 2
    assert wrong not in outer.log()
