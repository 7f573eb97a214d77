"""What is kept of a session: its transcript in four formats, and how much audio it was."""

import io

import pytest
import srt
import webvtt

import speech
from engines import engine_of
from listen import LINEAR16, ListenSession, text_of, transcript_of

# What is kept is the same whoever listens.
EVERY_ENGINE = True
CLIP = ("goforward.wav", 1.5, "librivox-0880.wav", 1.5)


@pytest.fixture(scope="module")
def session(speech_server) -> ListenSession:
    """A session that has ended, with at least two finals that say something."""
    with ListenSession(speech_server, LINEAR16 | {"interim_results": "true", "tag": "harness"}) as session:
        session.send(speech.joined(*CLIP).tobytes(), pace=2)
        session.finish()
    assert len([final for final in session.finals() if transcript_of(final)]) >= 2
    return session


def stored(server, session, form: str):
    answer = server.get(f"/v1/transcripts/{session.request_id}", server.key, format=form)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_session_is_completed(speech_server, session):
    assert speech_server.end_of(session.request_id) == "completed"


def test_json_holds_what_was_sent(speech_server, session):
    """Without a wait: a transcript is stored before Metadata is sent."""
    document = stored(speech_server, session, "json").json()
    assert document["session_id"] == session.request_id
    assert document["complete"] is True
    assert document["engine"] == engine_of(speech_server)
    assert document["audio_ms"] == len(speech.joined(*CLIP)) * 1000 // speech.RATE
    kept = [final for final in document["results"] if final["transcript"]]
    sent = [final for final in session.finals() if transcript_of(final)]
    assert [final["transcript"] for final in kept] == [transcript_of(final) for final in sent]
    for ours, theirs in zip(kept, sent):
        assert ours["channel"] == theirs["channel_index"][0]
        assert ours["start"] == pytest.approx(theirs["start"], abs=0.002)
        assert ours["end"] == pytest.approx(theirs["start"] + theirs["duration"], abs=0.002)
        alternative = theirs["channel"]["alternatives"][0]
        assert ours.get("confidence", 0) == pytest.approx(alternative["confidence"], abs=0.001)
        for word, expected in zip(ours["words"], alternative["words"], strict=True):
            assert word["word"] == expected["word"]
            assert word["start"] == pytest.approx(expected["start"], abs=0.001)
            assert word["end"] == pytest.approx(expected["end"], abs=0.001)
            assert word.get("confidence", 0) == pytest.approx(expected["confidence"], abs=0.001)


def test_txt(speech_server, session):
    answer = stored(speech_server, session, "txt")
    assert answer.headers["content-type"].startswith("text/plain")
    assert speech.words(answer.text) == speech.words(text_of(session.finals()))


def test_srt(speech_server, session):
    cues = list(srt.parse(stored(speech_server, session, "srt").text))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    check_cues([(cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in cues], session)


def test_vtt(speech_server, session):
    answer = stored(speech_server, session, "vtt")
    assert answer.headers["content-type"].startswith("text/vtt")
    cues = webvtt.from_buffer(io.StringIO(answer.text))
    check_cues([(cue.start_in_seconds, cue.end_in_seconds, cue.text) for cue in cues], session)


def check_cues(cues: list[tuple[float, float, str]], session: ListenSession) -> None:
    assert len(cues) >= 2
    assert speech.words(" ".join(text for _, _, text in cues)) == speech.words(text_of(session.finals()))
    assert all(start < end for start, end, _ in cues)
    assert all(earlier[1] <= later[0] + 0.001 for earlier, later in zip(cues, cues[1:]))
    first_word = session.finals()[0]["channel"]["alternatives"][0]["words"][0]
    assert abs(cues[0][0] - first_word["start"]) <= 1  # SDKs' cues begin at a word; webvtt-py rounds to seconds


def test_an_unknown_format_is_refused(speech_server, session):
    answer = speech_server.get(f"/v1/transcripts/{session.request_id}", speech_server.key, format="docx")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "format" in answer.text and "vtt" in answer.text


def test_the_list_names_the_session(speech_server, session):
    answer = speech_server.get("/v1/transcripts", speech_server.key)
    assert answer.status_code == 200
    assert session.request_id in [one["session_id"] for one in answer.json()["data"]]


@pytest.mark.parametrize("path", ["/v1/transcripts", "/v1/transcripts/{id}"])
def test_reading_needs_a_key(speech_server, session, path):
    path = path.format(id=session.request_id)
    assert speech_server.get(path).status_code == 401
    assert speech_server.get(path, "hsk_live_nonsense").status_code == 401


@pytest.mark.parametrize("name", ["00000000-0000-4000-8000-000000000000", "nonsense", "..%2f..%2fdev.env"])
def test_an_unknown_session_is_not_found(speech_server, name):
    assert speech_server.get(f"/v1/transcripts/{name}", speech_server.key).status_code == 404


# Exactly how much audio

FORMATS = [
    # encoding, rate, channels, multichannel, bytes per frame, frames sent
    ("linear16", 16_000, 1, False, 2, 16_007),
    ("linear16", 44_100, 1, False, 2, 44_143),
    ("linear16", 44_100, 2, False, 4, 44_143),
    ("linear16", 48_000, 2, True, 4, 30_011),
    ("linear32", 16_000, 1, False, 4, 12_345),
    ("mulaw", 8_000, 1, False, 1, 8_009),
    ("alaw", 8_000, 2, True, 2, 8_009),
]


@pytest.mark.parametrize(("encoding", "rate", "channels", "multichannel", "frame", "frames"), FORMATS)
def test_audio_is_measured_exactly(synthetic_server, encoding, rate, channels, multichannel, frame, frames):
    parameters = {"model": "nova-3", "encoding": encoding, "sample_rate": str(rate), "channels": str(channels)}
    if multichannel:
        parameters["multichannel"] = "true"
    audio = speech.tone(frames / rate, rate, frame // 2).tobytes() if frame > 1 else bytes([0xD5]) * frames
    audio = (audio + bytes(frame * frames))[: frame * frames]
    with ListenSession(synthetic_server, parameters) as session:
        session.bytes_per_second = rate * frame
        session.send(audio, milliseconds=37)
        metadata = session.finish()[-1]
    expected = frames * 1000 // rate
    assert metadata["duration"] == pytest.approx(frames / rate, abs=0.001)
    assert metadata["channels"] == channels
    assert synthetic_server.transcript(session.request_id)["audio_ms"] == expected
    usage = synthetic_server.usage(session.request_id)
    assert usage["audio_ms"] == expected and usage["channels"] == channels
    assert usage["connected_ms"] > 0


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1)])
def test_audio_of_a_wav_is_measured_without_its_header(synthetic_server, tmp_path, rate, channels):
    clip = speech.tone(1.234, rate, channels)
    wav = speech.write_wav(tmp_path / "clip.wav", clip, rate, channels)
    with ListenSession(synthetic_server, {"model": "nova-3"}) as session:
        session.send(wav.read_bytes())
        session.finish()
    expected = len(clip) // channels * 1000 // rate
    assert synthetic_server.transcript(session.request_id)["audio_ms"] == expected
    assert synthetic_server.usage(session.request_id)["audio_ms"] == expected
