"""The stand-in of Amazon Transcribe fails as it is told, when it is told."""

import asyncio
import time

import pytest
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from transcribe import indexed_audio, indexed_words, items_of, words_of
from transcribe_client import TranscribeClient, chunks_of

SECOND = 32_000


def streamed(stand_in, chunks=None, **parameters):
    """A client that sends these chunks as fast as it can, once its connection has ended."""

    async def talk():
        async with TranscribeClient(stand_in.url, **parameters) as client:
            await client.stream(indexed_audio(5.0) if chunks is None else chunks)
            return client

    return asyncio.run(talk())


def refused(stand_in):
    async def talk():
        async with TranscribeClient(stand_in.url):
            raise AssertionError("accepted")

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(talk())
    response = caught.value.response
    return response.status_code, response.headers["x-amzn-errortype"]


# Handshakes


@pytest.mark.parametrize(
    "status, error_type",
    [
        (403, "UnrecognizedClientException"),
        (429, "LimitExceededException"),
        (500, "InternalFailureException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_refuses_one_handshake(patient_stand_in, status, error_type):
    patient_stand_in.fault("refuse", status=status)
    assert refused(patient_stand_in) == (status, error_type)
    assert words_of(streamed(patient_stand_in).seen.finals) == indexed_words(5.0)
    assert [fault["fired"] for fault in patient_stand_in.faults()] == [1]


def test_refuses_with_another_error_if_told_so(stand_in):
    stand_in.fault("refuse", status=403, exception="ExpiredTokenException")
    assert refused(stand_in) == (403, "ExpiredTokenException")


def test_refuses_the_handshake_that_is_meant(patient_stand_in):
    patient_stand_in.fault("refuse", stream=2)
    assert streamed(patient_stand_in).seen.finals
    assert refused(patient_stand_in) == (500, "InternalFailureException")
    assert streamed(patient_stand_in).seen.finals
    assert [report["accepted"] for report in patient_stand_in.streams()] == [True, False, True]


def test_refuses_several_handshakes_and_then_none(patient_stand_in):
    patient_stand_in.fault("refuse", times=3, status=503)
    assert [refused(patient_stand_in)[0] for _ in range(3)] == [503] * 3
    assert streamed(patient_stand_in).seen.finals


def test_refuses_all_handshakes_for_a_time(patient_stand_in):
    ordered = time.monotonic()
    patient_stand_in.fault("refuse", times=None, seconds=1.0, status=503)
    refusals = 0
    while True:
        try:
            client = streamed(patient_stand_in, [])
            break
        except InvalidStatus as error:
            assert error.response.status_code == 503
            refusals += 1
            time.sleep(0.05)
    assert time.monotonic() - ordered >= 1.0 and refusals >= 1
    assert client.close_code == 1000


def test_leaves_a_handshake_without_an_answer(stand_in):
    stand_in.fault("hang")

    async def talk():
        async with TranscribeClient(stand_in.url):
            raise AssertionError("accepted")

    async def give_up():
        await asyncio.wait_for(talk(), 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert stand_in.ended_stream()["ended"] == "fault hang"


def test_answers_a_handshake_late(patient_stand_in):
    patient_stand_in.fault("hang", lasts=0.5)
    began = time.monotonic()
    assert words_of(streamed(patient_stand_in).seen.finals) == indexed_words(5.0)
    assert time.monotonic() - began >= 0.5


def test_drops_a_handshake(stand_in):
    stand_in.fault("drop")
    with pytest.raises((InvalidHandshake, InvalidMessage, OSError)):
        streamed(stand_in)
    assert stand_in.ended_stream()["ended"] == "fault drop"


# Exceptions


@pytest.mark.parametrize(
    "name",
    [
        "BadRequestException", "ConflictException", "InternalFailureException", "LimitExceededException",
        "SerializationException", "ServiceUnavailableException", "UnrecognizedClientException",
    ],
)  # fmt: skip
def test_sends_exceptions(patient_stand_in, name):
    patient_stand_in.fault("exception", exception=name, at=2.0)
    client = streamed(patient_stand_in)
    [(given, text)] = client.seen.exceptions
    assert given == name and text
    assert client.close_code == 1000 and client.seen.finals == []
    report = patient_stand_in.ended_stream()
    assert (report["ended"], report["faults"]) == ("fault exception", ["exception"])
    assert 2.0 <= report["audio_seconds"] < 2.1


def test_sends_the_message_it_is_given(patient_stand_in):
    patient_stand_in.fault("exception", exception="BadRequestException", message="Of another kind.")
    assert streamed(patient_stand_in).seen.exceptions == [("BadRequestException", "Of another kind.")]


@pytest.mark.parametrize("payload", ["", "<html>Bad gateway</html>"])
def test_sends_exceptions_that_are_not_json(patient_stand_in, payload):
    patient_stand_in.fault("exception", payload=payload, at=1.0)
    assert streamed(patient_stand_in).seen.exceptions == [("InternalFailureException", None)]


def test_sends_an_exception_on_every_stream_for_a_time(patient_stand_in):
    patient_stand_in.fault("exception", exception="ServiceUnavailableException", times=None, seconds=1.0)
    ordered = time.monotonic()
    failures = 0
    while (client := streamed(patient_stand_in)).seen.exceptions:
        failures += 1
        time.sleep(0.05)
    assert time.monotonic() - ordered >= 1.0 and failures >= 1
    assert words_of(client.seen.finals) == indexed_words(5.0)


# Frames


def test_answers_all_that_came_before_a_fault(patient_stand_in):
    patient_stand_in.fault("close", at=3.05)
    client = streamed(patient_stand_in, indexed_audio(5.0, speech=1.0, pause=0.5))
    # Two finals whole; of the third utterance, begun at 3.0 s, nothing.
    assert words_of(client.seen.finals) == indexed_words(3.0, speech=1.0, pause=0.5)


def test_sends_unknown_events_and_goes_on(patient_stand_in):
    patient_stand_in.fault("unknown-event", at=1.0)
    seen = streamed(patient_stand_in).seen
    assert seen.unknown_events == ["CategoryEvent"]
    assert words_of(seen.finals) == indexed_words(5.0)


def test_sends_empty_results_and_goes_on(patient_stand_in):
    patient_stand_in.fault("empty-results", at=1.0)
    seen = streamed(patient_stand_in).seen
    assert seen.empty_results == 1
    assert words_of(seen.finals) == indexed_words(5.0)


@pytest.mark.parametrize("action", ["wrong-checksum", "wrong-prelude-checksum", "cut-message"])
def test_sends_frames_that_are_no_message(patient_stand_in, action):
    patient_stand_in.fault(action, at=1.0)
    seen = streamed(patient_stand_in).seen
    [frame] = seen.invalid
    # A client that believes it gives itself away.
    assert action == "cut-message" or b"spoilt" in frame
    assert words_of(seen.finals) == indexed_words(5.0)


def test_sends_text(patient_stand_in):
    patient_stand_in.fault("text", at=1.0)
    seen = streamed(patient_stand_in).seen
    [frame] = seen.invalid
    assert isinstance(frame, str) and "spoilt" in frame
    assert words_of(seen.finals) == indexed_words(5.0)


def test_cuts_a_frame_in_half(patient_stand_in):
    patient_stand_in.fault("cut-frame", at=1.0)
    client = streamed(patient_stand_in)
    assert client.close_code == 1006
    assert not client.seen.invalid and client.seen.finals == []
    assert patient_stand_in.ended_stream()["ended"] == "fault cut-frame"


# Connections


@pytest.mark.parametrize("action, code", [("close", 1000), ("reset", 1006)])
def test_ends_mid_speech(patient_stand_in, action, code):
    patient_stand_in.fault(action, at=2.5, stream=1)
    client = streamed(patient_stand_in)
    assert client.close_code == code and client.seen.finals == [] and client.seen.exceptions == []
    assert patient_stand_in.ended_stream()["ended"] == f"fault {action}"
    assert words_of(streamed(patient_stand_in).seen.finals) == indexed_words(5.0)


def test_closes_with_another_code(patient_stand_in):
    patient_stand_in.fault("close", code=1011)
    assert streamed(patient_stand_in).close_code == 1011


def test_closes_although_audio_keeps_coming(patient_stand_in):
    patient_stand_in.fault("close", at=1.0)
    began = time.monotonic()
    assert streamed(patient_stand_in, chunks_of(bytes(300 * SECOND), 3200)).close_code == 1000
    assert time.monotonic() - began < 4, "the close frame of the client was not read"


def test_fails_after_the_end_of_the_audio(patient_stand_in):
    patient_stand_in.fault("reset", at="end")
    client = streamed(patient_stand_in)
    assert client.close_code == 1006 and client.seen.finals == []
    # What the client had not read yet is gone with a reset.
    assert len(client.seen.partials) <= 10
    assert patient_stand_in.ended_stream()["audio_ended"]


def test_stops_reading(own_stand_in):
    stand_in = own_stand_in(lead_seconds=None, receive_buffer=16_384)
    stand_in.fault("stall", at=1.0)

    async def talk():
        async with TranscribeClient(stand_in.url) as client:
            sent = 0
            with pytest.raises(TimeoutError):
                # More than any buffers between the two hold.
                for audio in chunks_of(bytes(1200 * SECOND), SECOND):
                    await asyncio.wait_for(client.send(audio), 1.0)
                    sent += 1
            report = await asyncio.to_thread(stand_in.stream, 1)
            await asyncio.to_thread(stand_in.reset)
            await client.closed()
            return sent, report

    sent, report = asyncio.run(talk())
    assert sent < 1200 and report["audio_seconds"] == 1.0 and report["ended"] is None


def test_stops_reading_for_a_while(patient_stand_in):
    patient_stand_in.fault("stall", at=1.0, lasts=0.5)
    began = time.monotonic()
    assert words_of(streamed(patient_stand_in).seen.finals) == indexed_words(5.0)
    assert time.monotonic() - began >= 0.5


def test_reads_but_never_answers(patient_stand_in):
    # Not even for want of audio: 15 seconds are 75 ms here.
    patient_stand_in.change(speed=200)
    patient_stand_in.fault("mute", at=2.05)

    async def talk():
        async with TranscribeClient(patient_stand_in.url) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.stream(indexed_audio(5.0)), 1.0)
            return client.seen

    seen = asyncio.run(talk())
    assert len(seen.partials) == 4 and not seen.finals and not seen.exceptions
    report = patient_stand_in.ended_stream()
    assert report["audio_seconds"] == 5.0 and report["audio_ended"]


def test_answers_again_after_a_while(patient_stand_in):
    patient_stand_in.fault("mute", at=4.0, lasts=1.5)
    client = streamed(patient_stand_in)
    assert client.close_code == 1000 and client.seen.finals == []


def test_never_finalises(patient_stand_in):
    patient_stand_in.fault("partials-only")
    client = streamed(patient_stand_in, indexed_audio(5.0, speech=1.0, pause=1.0))
    assert client.close_code == 1000 and client.seen.finals == []
    assert len(client.seen.partials) == 6
    assert len(items_of([client.seen.partials[-1]])) == 10


# Orders


def test_befalls_each_stream_once(patient_stand_in):
    patient_stand_in.fault("unknown-event", times=None)
    patient_stand_in.fault("unknown-event", at=2.0, times=2)
    assert [len(streamed(patient_stand_in).seen.unknown_events) for _ in range(3)] == [2, 2, 1]


def test_takes_orders_back(patient_stand_in):
    patient_stand_in.fault("reset", times=None)
    patient_stand_in.clear_faults()
    assert words_of(streamed(patient_stand_in).seen.finals) == indexed_words(5.0)
