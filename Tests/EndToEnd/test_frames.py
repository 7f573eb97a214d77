"""What may come over an open session: control messages, audio cut anywhere, and frames that should not be."""

import audioop
import hashlib
import json
import struct
import time

import pytest

import speech
from engines import check_text
from listen import LINEAR16, ListenSession, RawSession, handshake, token
from schemas import check_conversation

# What comes over the wire is the same whoever listens.
EVERY_ENGINE = True
MESSAGE_LIMIT = 1024 * 1024
BAD_TEXTS_ALLOWED = 10
NO_DATA = (
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
EMPTY_SHA256 = hashlib.sha256().hexdigest()
CONTAINER = {"model": "nova-3"}


def still_serves(server) -> None:
    assert handshake(server, headers=token(server.key)).status == 101


# Control messages


def test_close_stream_without_audio(synthetic_server):
    with ListenSession(synthetic_server) as session:
        (metadata,) = session.finish()
    assert (metadata["duration"], metadata["channels"], metadata["sha256"]) == (0, 0, EMPTY_SHA256)


def test_an_empty_binary_frame_is_close_stream(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.send(speech.pcm("goforward.wav"))
        session.socket.send(b"")
        assert session.wait_closed() == (1000, session.socket.close_reason)
        check_conversation(session.messages(), session.request_id)


def test_close_stream_twice(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.close_stream()
        session.close_stream()
        assert session.wait_closed()[0] == 1000
        assert session.kinds() == ["Metadata"]


def test_finalize_without_audio_is_acknowledged(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.finalize()
        acknowledged = session.wait_for(lambda message: message.get("from_finalize"))
        assert acknowledged["is_final"] and acknowledged["channel"]["alternatives"][0]["transcript"] == ""
        session.finish()


def test_each_finalize_is_acknowledged_once(speech_server):
    with ListenSession(speech_server) as session:
        session.send(speech.pcm("goforward.wav"), pace=4)
        for _ in range(3):
            session.finalize()
        session.send(speech.pcm("librivox-0880.wav"), pace=4)
        session.finalize()
        messages = session.finish()
        assert sum(message.get("from_finalize", False) for message in messages) == 4
        check_conversation(messages, session.request_id)


def test_finalize_is_acknowledged_per_channel(synthetic_server):
    stereo = LINEAR16 | {"channels": "2", "multichannel": "true"}
    with ListenSession(synthetic_server, stereo) as session:
        session.send(speech.tone(1, speech.RATE, channels=2).tobytes())
        session.finalize()
        messages = session.finish()
    acknowledged = [message["channel_index"] for message in messages if message.get("from_finalize")]
    assert sorted(acknowledged) == [[0, 2], [1, 2]]
    assert messages[-1]["channels"] == 2


def test_a_ping_does_not_wait_for_what_was_sent_before_it(speech_server):
    """Clients give up after 20 s without a pong, and a file that is sent at once takes longer than that to decode."""
    clip = speech.joined(*(sorted(speech.transcripts()) * 20))[: speech.RATE * 60]
    mulaw = audioop.lin2ulaw(clip.tobytes(), 2)
    with ListenSession(speech_server, LINEAR16 | {"encoding": "mulaw", "interim_results": "true"}) as session:
        session.socket.send(mulaw)
        assert session.socket.ping().wait(60), "no pong"
        heard = [message["start"] + message["duration"] for message in session.messages("Results")]
        assert max(heard, default=0) < 30, "half of it was decoded before the ping was answered"
        session.finish(seconds=120)
    assert speech_server.transcript(session.request_id)["audio_ms"] == 60_000


def test_what_was_said_before_leaving_counts(speech_server):
    """Everything at once and away: the audio is heard, the session is complete."""
    sessions = []
    for _ in range(5):
        with ListenSession(speech_server) as session:
            session.socket.send(speech.pcm("goforward.wav"))
            session.close_stream()
            session.socket.close()
            sessions.append(session.request_id)
        speech_server.wait_for_quiet()
    assert [speech_server.end_of(one) for one in sessions] == ["completed"] * 5
    for one in sessions:
        kept = speech_server.get(f"/v1/transcripts/{one}?format=txt", speech_server.key).text
        check_text(speech_server, kept, "goforward.wav")


def test_an_empty_message_in_two_frames_ends_the_stream(synthetic_server):
    with RawSession(synthetic_server) as session:
        session.send(RawSession.BINARY, b"", final=False)
        session.send(RawSession.CONTINUATION, b"")
        assert session.wait_closed()[0] == 1000
    assert synthetic_server.end_of(session.request_id) == "completed"


def test_pings_are_answered_while_audio_comes(speech_server):
    with ListenSession(speech_server) as session:
        session.send(speech.pcm("jfk.wav"))
        for _ in range(5):
            assert session.socket.ping().wait(5), "no pong"
        session.finish()


# Text that means nothing


@pytest.mark.parametrize("text", ["hello", "{", "[]", "{}", '{"type": 7}', '{"type": "Reboot"}', "null", '"KeepAlive"'])
def test_a_bad_text_is_ignored_ten_times(synthetic_server, text):
    with ListenSession(synthetic_server) as session:
        for _ in range(BAD_TEXTS_ALLOWED):
            session.send_text(text)
        session.send(speech.pcm("goforward.wav"))
        messages = session.finish()
        assert {message["type"] for message in messages} == {"Results", "Metadata"}
    with ListenSession(synthetic_server) as session:
        for _ in range(BAD_TEXTS_ALLOWED + 1):
            session.send_text(text)
        assert session.wait_closed()[0] == 1008
    assert synthetic_server.end_of(session.request_id) == "failed"


def test_deeply_nested_json_is_a_bad_text(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.send_text("[" * 50_000)
        session.finish()
    still_serves(synthetic_server)


# Frames beyond the rules


@pytest.mark.parametrize("opcode", [RawSession.TEXT, RawSession.BINARY])
def test_a_frame_above_the_limit(synthetic_server, opcode):
    with RawSession(synthetic_server) as session:
        session.send(opcode, b" " * (MESSAGE_LIMIT + 1))
        assert session.wait_closed()[0] == 1009
    assert synthetic_server.end_of(session.request_id) == "failed"


def test_a_frame_that_only_announces_to_be_large(synthetic_server):
    """The length alone is enough: nobody waits for a terabyte."""
    with RawSession(synthetic_server) as session:
        session.socket.sendall(struct.pack("!BBQ", 0x82, 0x80 | 127, 1 << 40) + bytes(4) + b"begins")
        assert session.wait_closed()[0] == 1009


def test_fragments_that_add_up_above_the_limit(synthetic_server):
    with RawSession(synthetic_server) as session:
        half = b" " * (MESSAGE_LIMIT // 2 + 1)
        session.send(RawSession.TEXT, half, final=False)
        session.send(0, half, final=True)
        assert session.wait_closed()[0] == 1009


@pytest.mark.parametrize("payload", [b"\xff\xfe", b'{"type": "\xc3\x28"}', b"\xed\xa0\x80", b"\xc0\xaf"])
def test_invalid_utf8(synthetic_server, payload):
    with RawSession(synthetic_server) as session:
        session.send(RawSession.TEXT, payload)
        assert session.wait_closed()[0] == 1007
    assert synthetic_server.end_of(session.request_id) == "failed"


def test_a_keep_alive_in_fragments(synthetic_server):
    with RawSession(synthetic_server) as session:
        session.send(RawSession.TEXT, b'{"type": ', final=False)
        session.send(RawSession.PING, b"between")
        session.send(0, b'"CloseStream"}', final=True)
        assert session.wait_closed()[0] == 1000


# Audio cut anywhere


@pytest.mark.parametrize("size", [1, 7, 43, 44, 45, 333, 4001])
def test_a_wav_split_anywhere(synthetic_server, size):
    """A header of 44 bytes and a second of audio, in pieces that cut through both."""
    wav = speech.path("goforward.wav").read_bytes()[: 44 + 32_000]
    pieces = [wav[at : at + size] for at in range(0, min(len(wav), 400 * size), size)]
    with ListenSession(synthetic_server, CONTAINER) as session:
        for piece in pieces:
            session.socket.send(piece)
        metadata = session.finish()[-1]
    frames = (len(b"".join(pieces)) - 44) // 2
    assert metadata["duration"] == pytest.approx(frames / speech.RATE, abs=0.001)
    assert metadata["channels"] == 1


def test_a_wav_of_unknown_length_and_with_other_chunks(synthetic_server):
    """As a recorder that cannot seek writes it: sizes of 0xFFFFFFFF, and a LIST chunk of odd length before the data."""
    audio = speech.pcm("goforward.wav")
    note = b"LIST" + struct.pack("<I", 5) + b"INFO?" + b"\0"
    layout = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    wav = b"RIFF\xff\xff\xff\xffWAVE" + layout + note + b"data\xff\xff\xff\xff" + audio
    with ListenSession(synthetic_server, CONTAINER) as session:
        session.send(wav)
        metadata = session.finish()[-1]
    assert metadata["duration"] == pytest.approx(len(audio) / 32_000, abs=0.001)


def test_odd_byte_counts(speech_server):
    """Three bytes at a time: samples are cut in two; the text does not notice."""
    audio = speech.pcm("goforward.wav")
    with ListenSession(speech_server) as session:
        for at in range(0, len(audio), 3001):
            session.socket.send(audio[at : at + 3001])
        session.finish()
    check_text(speech_server, session.text(), "goforward.wav")


def test_half_a_sample_at_the_end(synthetic_server):
    with ListenSession(synthetic_server) as session:
        session.socket.send(bytes(32_001))
        metadata = session.finish()[-1]
    assert metadata["duration"] == pytest.approx(1, abs=0.001)
    assert synthetic_server.transcript(session.request_id)["audio_ms"] == 1000


def test_half_a_wav_header_and_close_stream(synthetic_server):
    with ListenSession(synthetic_server, CONTAINER) as session:
        session.socket.send(speech.path("goforward.wav").read_bytes()[:22])
        session.close_stream()
        code, reason = session.wait_closed()
    assert code == 1008 and reason.startswith("DATA-0000"), (code, reason)
    assert synthetic_server.end_of(session.request_id) == "failed"
    assert synthetic_server.usage(session.request_id)["audio_ms"] == 0


def test_half_a_wav_header_and_gone(synthetic_server):
    with RawSession(synthetic_server, CONTAINER) as session:
        session.send(RawSession.BINARY, speech.path("goforward.wav").read_bytes()[:22])
    assert synthetic_server.end_of(session.request_id) == "interrupted"


@pytest.mark.parametrize(
    "bad",
    [
        b"This is not audio. " * 100,
        b"OggS" + bytes(2000),
        b"RIFF\x24\x00\x00\x00WAVEfmt " + struct.pack("<IHHIIHH", 16, 85, 1, 16_000, 32_000, 2, 16) + b"data" + bytes(99),
        b"RIFF\x24\x00\x00\x00WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 0, 0, 0, 0, 0) + b"data" + bytes(99),
    ],
    ids=["text", "ogg", "wav-with-mp3", "wav-of-zeros"],
)
def test_bytes_that_are_no_audio(synthetic_server, bad):
    with ListenSession(synthetic_server, CONTAINER) as session:
        session.socket.send(bad)
        code, reason = session.wait_closed()
    assert code == 1008 and reason.startswith("DATA-0000"), (code, reason)
    assert synthetic_server.end_of(session.request_id) == "failed"


# Time


def test_ten_seconds_of_nothing(synthetic_server):
    with ListenSession(synthetic_server) as silent, ListenSession(synthetic_server) as after_audio:
        after_audio.send(speech.pcm("goforward.wav"))
        assert silent.wait_closed(30) == (1011, NO_DATA)
        assert after_audio.wait_closed(30) == (1011, NO_DATA)
        assert silent.kinds() == ["Metadata"]
        check_conversation(after_audio.messages(), after_audio.request_id)
    assert synthetic_server.end_of(silent.request_id) == "interrupted"
    assert synthetic_server.end_of(after_audio.request_id) == "interrupted"


def test_keep_alive_resets_the_clock(synthetic_server):
    with ListenSession(synthetic_server) as session:
        for _ in range(3):
            time.sleep(4)
            session.keep_alive()
        messages = session.finish()
    assert [json.dumps(message["type"]) for message in messages] == ['"Metadata"']
