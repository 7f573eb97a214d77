"""Real speech: live results as it comes, and the moments at which somebody begins and stops to speak."""

import array
import audioop

import pytest

import speech
from engines import check_text
from listen import LINEAR16, ListenSession, text_of, transcript_of
from schemas import check_conversation

EVERY_ENGINE = True

TOLERANCE = 0.2
PIECES = ("goforward.wav", "librivox-0880.wav", "librivox-0930.wav")
PAUSE = 2.0
EVENTS = {"interim_results": "true", "vad_events": "true", "utterance_end_ms": "1000", "endpointing": "300"}


# Where somebody speaks


@pytest.fixture(scope="module")
def clip():
    """Phrases without a pause inside, between digital silence of known length."""
    return speech.joined(PAUSE, *(piece for name in PIECES for piece in (name, PAUSE)))


@pytest.fixture(scope="module")
def reference(clip) -> list[speech.Stretch]:
    found = speech.stretches(clip, shortest_pause=0.3)
    assert len(found) == len(PIECES)
    return found


@pytest.fixture(scope="module")
def paced(speech_server, clip) -> ListenSession:
    with ListenSession(speech_server, LINEAR16 | EVENTS) as session:
        session.send(clip.tobytes(), pace=1)
        check_conversation(session.finish(), session.request_id)
    return session


def test_speech_started(paced, reference):
    begun = [message["timestamp"] for message in paced.messages("SpeechStarted")]
    assert begun == pytest.approx([stretch.start for stretch in reference], abs=TOLERANCE)


def test_utterance_end(paced, reference):
    ended = [message["last_word_end"] for message in paced.messages("UtteranceEnd")]
    assert ended == pytest.approx([stretch.end for stretch in reference], abs=TOLERANCE)


def test_speech_final(paced, reference):
    # A final that came before the silence was long enough is closed by an empty one.
    closed = [final for final in paced.finals() if final["speech_final"]]
    assert len(closed) == len(reference)
    ends = [word["end"] for final in paced.finals() for word in final["channel"]["alternatives"][0]["words"]]
    last_words = [max(end for end in ends if end <= final["start"] + final["duration"]) for final in closed]
    assert last_words == pytest.approx([stretch.end for stretch in reference], abs=TOLERANCE)


def test_word_times_lie_in_the_speech(paced, reference):
    for word in (word for final in paced.finals() for word in final["channel"]["alternatives"][0]["words"]):
        assert any(s.start - TOLERANCE <= word["start"] and word["end"] <= s.end + TOLERANCE for s in reference), word


def test_events_only_when_asked_for(speech_server):
    with ListenSession(speech_server) as session:
        session.send(speech.joined("goforward.wav", PAUSE).tobytes(), pace=4)
        messages = session.finish()
    assert {message["type"] for message in messages} == {"Results", "Metadata"}
    assert all(message["is_final"] for message in messages if message["type"] == "Results")


def test_endpointing_can_be_off(speech_server):
    with ListenSession(speech_server, LINEAR16 | {"endpointing": "false"}) as session:
        session.send(speech.joined("goforward.wav", PAUSE, "librivox-0880.wav").tobytes(), pace=4)
        session.finish()
    assert not any(final["speech_final"] for final in session.finals())


# Live


@pytest.mark.parametrize("name", sorted(speech.transcripts()))
def test_interim_results_come_while_somebody_speaks(speech_server, name):
    with ListenSession(speech_server, LINEAR16 | {"interim_results": "true"}) as session:
        session.send(speech.pcm(name), pace=1)
        check_conversation(session.finish(), session.request_id)
    spoken = sum(stretch.end - stretch.start for stretch in speech.stretches(speech.samples(name), 0.3))
    interims = [one for one in session.messages("Results") if not one["is_final"]]
    assert len(interims) >= int(spoken)
    assert any(transcript_of(one) for one in interims)
    reference = speech.words(speech.transcripts()[name])
    # The engine's own rate is measured elsewhere; this only tells text from noise.
    assert speech.word_errors(reference, speech.words(session.text())) < len(reference), session.text()


# Other formats of the same speech


def as_floats(audio: bytes) -> bytes:
    """Deepgram's linear32 is 32-bit floating point."""
    return array.array("f", (value / 32_768 for value in array.array("h", audio))).tobytes()


def other_formats():
    """The same recording as other encodings, rates and channels."""
    audio = speech.pcm("goforward.wav")
    at_44k = audioop.ratecv(audio, 2, 1, 16_000, 44_100, None)[0]
    return {
        "linear32": (as_floats(audio), {"encoding": "linear32", "sample_rate": "16000"}, 4),
        "mulaw": (audioop.lin2ulaw(audio, 2), {"encoding": "mulaw", "sample_rate": "16000"}, 1),
        "alaw": (audioop.lin2alaw(audio, 2), {"encoding": "alaw", "sample_rate": "16000"}, 1),
        "44100": (at_44k, {"encoding": "linear16", "sample_rate": "44100"}, 2),
        "stereo": (
            audioop.tostereo(audio, 2, 1, 1), {"encoding": "linear16", "sample_rate": "16000", "channels": "2"}, 4,
        ),
    }


@pytest.mark.parametrize("form", ["linear32", "mulaw", "alaw", "44100", "stereo"])
def test_other_formats_are_heard(speech_server, form):
    audio, parameters, frame = other_formats()[form]
    with ListenSession(speech_server, {"model": "nova-3"} | parameters) as session:
        session.bytes_per_second = int(parameters["sample_rate"]) * frame
        session.send(audio, pace=4)
        session.finish()
    reference = speech.words(speech.transcripts()["goforward.wav"])
    # Conversion and eight bits may cost a word, not more.
    assert speech.word_errors(reference, speech.words(session.text())) <= 1, session.text()


def test_a_recording_with_three_channels_apart(speech_server, tmp_path):
    """A WAV says how many channels it has only when it is there; who says so before gets as many."""
    clip = speech.samples("goforward.wav")
    silent = array.array("h", bytes(len(clip) * 2))
    wav = speech.write_wav(
        tmp_path / "three.wav", array.array("h", (s for frame in zip(silent, clip, silent) for s in frame)), channels=3
    )
    with ListenSession(speech_server, {"model": "nova-3", "multichannel": "true", "channels": "3"}) as session:
        session.send(wav.read_bytes(), pace=0)
        session.finish()
    heard = text_of([one for one in session.finals() if one["channel_index"] == [1, 3]])
    check_text(speech_server, heard, "goforward.wav")


def test_each_channel_is_heard_for_itself(speech_server):
    silent = bytes(len(speech.pcm("goforward.wav")))
    stereo = audioop.add(
        audioop.tostereo(speech.pcm("goforward.wav"), 2, 0, 1), audioop.tostereo(silent, 2, 1, 0), 2
    )
    parameters = LINEAR16 | {"channels": "2", "multichannel": "true"}
    with ListenSession(speech_server, parameters) as session:
        session.bytes_per_second = 64_000
        session.send(stereo, pace=4)
        check_conversation(session.finish(), session.request_id)
    by_channel = {
        channel: text_of([final for final in session.finals() if final["channel_index"] == [channel, 2]])
        for channel in (0, 1)
    }
    assert by_channel[0] == ""
    check_text(speech_server, by_channel[1], "goforward.wav")
