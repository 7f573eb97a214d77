"""The stand-in of Amazon Transcribe refuses what the service refuses."""

import asyncio
import zlib
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from aws_emulators import REGION, AccessKey
from StandIns.transcribe import events
from StandIns.transcribe.errors import BadRequest
from StandIns.transcribe.parameters import stream_parameters
from StandIns.transcribe.presign import Refused, verify
from StandIns.transcribe.rules import AudioMeter
from StandIns.transcribe.settings import Settings
from transcribe import KEY, TEMPORARY_KEY, indexed_audio, indexed_words, words_of
from transcribe_client import DEFAULTS, TranscribeClient, chunks_of, presigned_url

SECOND = 32_000
IDLE = "Your request timed out because no new audio was received for 15 seconds."


def refusal(url: str) -> tuple[int, str]:
    """The status and error type with which a handshake is refused."""

    async def try_it():
        async with connect(url, proxy=None, compression=None):
            raise AssertionError("accepted")

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(try_it())
    response = caught.value.response
    return response.status_code, response.headers["x-amzn-errortype"]


def exceptions(stand_in, frames=(), key=KEY, signs_chunks=False, **parameters):
    """The exceptions that a client is sent; the connection must then be closed."""

    async def talk():
        async with TranscribeClient(stand_in.url, key, signs_chunks, **parameters) as client:
            try:
                for frame in frames:
                    await client.socket.send(frame)
            except ConnectionClosed:
                pass
            seen = await client.closed()
            assert client.close_code == 1000
            return seen.exceptions

    return asyncio.run(talk())


def finals(stand_in, chunks, key=KEY, signs_chunks=False, pace=None, speed=1.0, **parameters):
    async def talk():
        async with TranscribeClient(stand_in.url, key, signs_chunks, **parameters) as client:
            seen = await client.stream(chunks, pace, speed)
            assert not seen.exceptions
            return seen.finals

    return asyncio.run(talk())


# URLs


@pytest.mark.parametrize("key", [KEY, TEMPORARY_KEY], ids=["lasting", "temporary"])
def test_knows_its_keys(stand_in, key):
    assert words_of(finals(stand_in, indexed_audio(1.0), key)) == indexed_words(1.0)


@pytest.mark.parametrize(
    "key, expected",
    [
        (AccessKey(KEY.id, "another secret"), "InvalidSignatureException"),
        (AccessKey("AKIASOMEBODYELSE0000", KEY.secret), "UnrecognizedClientException"),
        (AccessKey(TEMPORARY_KEY.id, TEMPORARY_KEY.secret), "UnrecognizedClientException"),
        (AccessKey(TEMPORARY_KEY.id, TEMPORARY_KEY.secret, "another token"), "UnrecognizedClientException"),
        (AccessKey(KEY.id, KEY.secret, "a token that is not needed"), "UnrecognizedClientException"),
    ],
    ids=["secret", "id", "no token", "wrong token", "needless token"],
)
def test_refuses_who_it_does_not_know(stand_in, key, expected):
    assert refusal(presigned_url(stand_in.url, DEFAULTS, key)) == (403, expected)
    report = stand_in.stream(1)
    assert not report["accepted"] and expected in report["signature"] and expected in report["ended"]


def changed(url: str, **changes: str | None) -> str:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query |= {name.replace("_", "-"): value for name, value in changes.items()}
    kept = {name: value for name, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"language_code": "de-DE"}, "InvalidSignatureException"),
        ({"X_Amz_Signature": "0" * 64}, "InvalidSignatureException"),
        ({"X_Amz_Signature": None}, "MissingAuthenticationTokenException"),
        ({"X_Amz_Date": "20150830T123600Z"}, "InvalidSignatureException"),
        ({"X_Amz_SignedHeaders": "host;date"}, "InvalidSignatureException"),
        ({"X_Amz_Algorithm": "AWS4-HMAC-SHA1"}, "InvalidSignatureException"),
    ],
)
def test_refuses_a_url_that_was_changed(stand_in, changes, expected):
    assert refusal(changed(presigned_url(stand_in.url, DEFAULTS), **changes)) == (403, expected)


def test_refuses_a_url_signed_for_elsewhere(stand_in):
    another_port = presigned_url("http://127.0.0.1:8443", DEFAULTS).replace(":8443", f":{stand_in.port}")
    assert refusal(another_port) == (403, "InvalidSignatureException")
    another_region = presigned_url(stand_in.url, DEFAULTS, region="us-east-1")
    assert refusal(another_region) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("expires", [0, 301])
def test_refuses_a_url_that_is_not_for_seconds(stand_in, expires):
    assert refusal(presigned_url(stand_in.url, DEFAULTS, expires=expires)) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("seconds, problem", [(-301, "not yet current"), (-290, None), (59, None), (62, "expired")])
def test_knows_how_long_a_url_lasts(seconds, problem):
    host = "127.0.0.1:8443"
    url = presigned_url(f"http://{host}", DEFAULTS, expires=60)
    then = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=seconds)
    try:
        verify(url.removeprefix(f"ws://{host}"), host, (KEY,), REGION, then)
        assert problem is None
    except Refused as refused:
        assert refused.error_type == "InvalidSignatureException" and problem in refused.message


def test_takes_values_that_need_escaping(stand_in):
    assert finals(stand_in, indexed_audio(0.5), vocabulary_name="a b/c+d~e%ü")
    assert stand_in.stream(1)["parameters"]["vocabulary-name"] == "a b/c+d~e%ü"


# Signed chunks


@pytest.mark.parametrize("key", [KEY, TEMPORARY_KEY], ids=["lasting", "temporary"])
def test_takes_signed_chunks(stand_in, key):
    stand_in.change(chunk_signing="required")
    assert words_of(finals(stand_in, indexed_audio(3.0), key, signs_chunks=True)) == indexed_words(3.0)
    assert stand_in.stream(1)["chunks_signed"]


def test_refuses_unsigned_chunks_where_they_must_be_signed(stand_in):
    stand_in.change(chunk_signing="required")
    assert exceptions(stand_in, [events.audio_event(b"\1\1")]) == [("BadRequestException", "Chunks must be signed")]


def test_refuses_signed_chunks_where_they_must_not_be(stand_in):
    stand_in.change(chunk_signing="refused")

    async def talk():
        async with TranscribeClient(stand_in.url, signs_chunks=True) as client:
            return (await client.stream([bytes(3200)])).exceptions

    assert asyncio.run(talk()) == [("BadRequestException", "Chunks must not be signed")]


@pytest.mark.parametrize("mistake", ["content", "order"])
def test_refuses_chunks_out_of_their_chain(stand_in, mistake):
    async def talk():
        async with TranscribeClient(stand_in.url, signs_chunks=True) as client:
            first, second = (client._signatures.wrapped(events.audio_event(one)) for one in (b"\1\1", b"\2\2"))
            if mistake == "order":
                await client.socket.send(second)
            else:
                message = events.decode(first)
                signature = bytes(reversed(message.headers[":chunk-signature"]))
                # The package reads a timestamp as a number, and would write it as one of 32 bits.
                at = first.index(message.headers[":chunk-signature"])
                spoilt = first[:at] + signature + first[at + 32 : -4]
                await client.socket.send(spoilt + _checksum(spoilt))
            return (await client.closed()).exceptions

    (name, text), *others = asyncio.run(talk())
    assert (name, others) == ("InvalidSignatureException", [])
    assert "does not match" in text


def _checksum(message: bytes) -> bytes:
    return zlib.crc32(message).to_bytes(4, "big")


# Parameters


@pytest.mark.parametrize(
    "parameters, expected",
    [
        ({"sample_rate": None}, "sample-rate"),
        ({"sample_rate": 7999}, "sample-rate"),
        ({"sample_rate": 48_001}, "sample-rate"),
        ({"sample_rate": "16000.0"}, "sample-rate"),
        ({"media_encoding": "mp3"}, "media-encoding"),
        ({"language_code": None}, "Exactly one"),
        ({"identify_language": "true", "language_options": "en-US,de-DE"}, "Exactly one"),
        ({"language_code": "english"}, "no language code"),
        ({"language_code": None, "identify_language": "true"}, "at least two"),
        (
            {"language_code": None, "identify_language": "true", "language_options": "en-US,en-GB"},
            "one dialect",
        ),
        ({"language_options": "en-US,de-DE"}, "need language identification"),
        ({"number_of_channels": 2}, "need each other"),
        ({"enable_channel_identification": "true"}, "need each other"),
        ({"enable_channel_identification": "true", "number_of_channels": 3}, "must be 2"),
        (
            {"enable_channel_identification": "true", "number_of_channels": 2, "show_speaker_label": "true"},
            "exclude each other",
        ),
        ({"show_speaker_label": "yes"}, "true or false"),
        ({"partial_results_stability": "high"}, "needs enable-partial-results-stabilization"),
        ({"content_identification_type": "PII", "content_redaction_type": "PII"}, "exclude each other"),
        ({"content_redaction_type": "PII", "pii_entity_types": "NAME,SHOE_SIZE"}, "SHOE_SIZE"),
        ({"pii_entity_types": "NAME"}, "needs content"),
        ({"session_id": "12"}, "UUID"),
        ({"punctuate": "true"}, "Unknown parameters: punctuate"),
    ],
)
def test_refuses_parameters_that_the_service_does_not_know(stand_in, parameters, expected):
    [(name, text)] = exceptions(stand_in, **parameters)
    assert name == "BadRequestException" and expected in text


# Audio


def test_takes_audio_in_real_time(stand_in):
    stand_in.change(speed=20, lead_seconds=1.5)
    words = words_of(finals(stand_in, indexed_audio(12.0), pace=0.1, speed=20))
    assert words == indexed_words(12.0)
    assert stand_in.stream(1)["max_lead"] <= 1.5


def test_refuses_audio_faster_than_real_time(stand_in):
    sent = [events.audio_event(audio) for audio in indexed_audio(12.0)]
    [(name, text)] = exceptions(stand_in, sent)
    assert name == "BadRequestException" and "must come in real time" in text
    assert 5.0 < stand_in.ended_stream()["max_lead"] < 6.0


@pytest.mark.parametrize("interval, is_allowed", [(0.05, True), (0.045, False)])
def test_allows_another_pace(interval, is_allowed):
    meter = AudioMeter(stream_parameters(DEFAULTS), Settings(lead_seconds=2.0, pace_rate=2.0))
    chunk = bytes(SECOND // 10)
    try:
        for index in range(600):
            meter.audio_received(chunk, index * interval)
        assert is_allowed
    except BadRequest:
        assert not is_allowed
    assert meter.max_lead == pytest.approx(meter.seconds - meter.last_at)


def test_measures_bursts_without_saving_up_credit():
    meter = AudioMeter(stream_parameters(DEFAULTS), Settings())
    second = bytes(SECOND)
    for now in (10.0, 10.0, 10.5):
        meter.audio_received(second, now)
    assert (meter.max_lead, meter.max_burst) == (0.0, 2.5)


def test_only_measures_the_pace_if_told_so(patient_stand_in):
    assert finals(patient_stand_in, indexed_audio(60.0))
    assert 30.0 < patient_stand_in.stream(1)["max_lead"] <= 60.0


def test_ends_a_stream_without_audio(stand_in):
    stand_in.change(speed=20)
    assert exceptions(stand_in) == [("BadRequestException", IDLE)]
    assert 15.0 <= stand_in.ended_stream()["seconds"]


def test_gives_no_final_when_a_stream_times_out(stand_in):
    stand_in.change(speed=20)

    async def talk():
        async with TranscribeClient(stand_in.url) as client:
            for audio in indexed_audio(1.0):
                await client.send(audio)
            return await client.closed()

    seen = asyncio.run(talk())
    assert seen.exceptions == [("BadRequestException", IDLE)]
    assert (len(seen.partials), seen.finals) == (2, [])


def test_goes_on_while_silence_comes(stand_in):
    stand_in.change(speed=20)
    audio = [*indexed_audio(1.0), *chunks_of(bytes(40 * SECOND), SECOND), *indexed_audio(1.0, start=410)]
    assert words_of(finals(stand_in, audio, pace=0.9, speed=20)) == indexed_words(1.0) + indexed_words(1.0, start=410)
    assert stand_in.stream(1)["silence_seconds"] == 40.0


def test_ends_a_stream_that_is_too_long(patient_stand_in):
    patient_stand_in.change(max_stream_seconds=30)
    sent = [events.audio_event(audio) for audio in indexed_audio(31.0)]
    [(name, text)] = exceptions(patient_stand_in, sent)
    assert name == "LimitExceededException" and "audio length limit" in text
    assert finals(patient_stand_in, indexed_audio(30.0))


def test_refuses_chunks_of_more_than_a_second(stand_in):
    assert finals(stand_in, [bytes(SECOND)]) == []
    [(name, text)] = exceptions(stand_in, [events.audio_event(bytes(SECOND + 2))])
    assert name == "BadRequestException" and "A chunk has" in text


def test_refuses_half_samples(stand_in):
    [(name, text)] = exceptions(stand_in, [events.audio_event(bytes(321))])
    assert name == "BadRequestException" and "whole samples" in text


# Frames


VALID = events.audio_event(bytes(320))


@pytest.mark.parametrize(
    "frame",
    [
        "text",
        b"",
        VALID[:-1],
        VALID + VALID,
        VALID + b"\0",
        events.with_wrong_checksum(VALID),
        events.with_wrong_prelude_checksum(VALID),
        b"\xff" * 200,
    ],
    ids=["text", "empty", "short", "two", "long", "checksum", "prelude", "nonsense"],
)
def test_refuses_frames_that_are_not_one_message(stand_in, frame):
    [(name, _)] = exceptions(stand_in, [VALID, frame])
    assert name == "SerializationException"


@pytest.mark.parametrize("header", list(events.AUDIO_HEADERS))
def test_refuses_messages_that_are_no_audio(stand_in, header):
    wrong = events.encode(events.AUDIO_HEADERS | {header: "something"}, bytes(320))
    missing = events.encode({name: value for name, value in events.AUDIO_HEADERS.items() if name != header}, b"")
    for frame in (wrong, missing):
        [(name, text)] = exceptions(stand_in, [frame])
        assert name == "BadRequestException" and header in text


# Streams side by side


def test_ends_the_older_stream_of_a_session(stand_in):
    session = "6a1c2b4e-0000-4000-8000-00000000cafe"

    async def talk():
        async with TranscribeClient(stand_in.url, session_id=session) as older:
            await older.send(VALID)
            async with TranscribeClient(stand_in.url, session_id=session) as newer:
                assert [name for name, _ in (await older.closed()).exceptions] == ["ConflictException"]
                assert not (await newer.stream(indexed_audio(0.5))).exceptions

    asyncio.run(talk())
    assert [report["ended"].split(":")[0] for report in stand_in.all_ended()] == ["ConflictException", "end of stream"]


def test_limits_how_many_streams_there_are(stand_in):
    stand_in.change(max_streams=1)

    async def talk():
        async with TranscribeClient(stand_in.url) as first:
            async with TranscribeClient(stand_in.url) as second:
                assert [name for name, _ in (await second.closed()).exceptions] == ["LimitExceededException"]
            assert not (await first.stream(indexed_audio(0.5))).exceptions

    asyncio.run(talk())
