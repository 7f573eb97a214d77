"""The stand-in of Amazon Transcribe hears what was said, gives it in the service's format, and reports what it saw."""

import asyncio
import audioop
import hashlib

import pytest

import speech
from StandIns.transcribe import events
from StandIns.transcribe.blocks import block
from StandIns.transcribe.presign import AccessKey, canonical_request_and_signature
from transcribe import indexed_audio, indexed_words, interleaved, items_of, words_of
from transcribe_client import TranscribeClient, chunks_of

RATE = 16_000
SECOND = 2 * RATE


def heard(stand_in, chunks, **parameters):
    """What a client is sent that sends these chunks as fast as it can."""

    async def talk():
        async with TranscribeClient(stand_in.url, **parameters) as client:
            seen = await client.stream(chunks)
            assert client.close_code == 1000
            assert not (seen.exceptions or seen.invalid or seen.unknown_events)
            return seen

    return asyncio.run(talk())


def timed_words(results):
    return [(item["Content"], item["StartTime"], item["EndTime"]) for item in items_of(results)]


# Vectors


def test_signs_a_url_as_known_implementations_do():
    # The key pair is the one of AWS's own signature test suite.
    key = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    parameters = {
        "language-code": "en-US",
        "media-encoding": "pcm",
        "sample-rate": "16000",
        "session-id": "12345678-1234-1234-1234-123456789012",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIDEXAMPLE/20150830/us-west-2/transcribe/aws4_request",
        "X-Amz-Date": "20150830T123600Z",
        "X-Amz-Expires": "300",
        "X-Amz-SignedHeaders": "host",
    }
    host = "transcribestreaming.us-west-2.amazonaws.com:8443"
    canonical, signature = canonical_request_and_signature(parameters, host, key, "us-west-2")
    expected = "b6cd6952edda77995dfdef7e731440eae3dd1ea40e4941a90f82d5dfb377346e"
    assert hashlib.sha256(canonical.encode()).hexdigest() == expected
    assert signature == "cda4c63eabc0454d0c31ceb8fae62d7121f7b3c16662fc23c8de98c9e314b616"


def test_frames_audio_as_known_implementations_do():
    names = (
        "0d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d"
        "0b3a6576656e742d7479706507000a417564696f4576656e740d3a6d6573736167652d747970650700056576656e74"
    )
    assert events.audio_event(b"").hex() == "0000006800000058a9d03a23" + names + "5cc64095"
    assert events.audio_event(b"\1\2\3\4").hex() == "0000006c000000585c509ce3" + names + "01020304" + "744c824a"


# Indexed blocks


def test_gives_each_utterance_of_blocks_one_final(patient_stand_in):
    shape = {"seconds": 9.5, "start": 7, "speech": 2.0, "pause": 0.5}
    seen = heard(patient_stand_in, indexed_audio(**shape))
    assert words_of(seen.finals) == indexed_words(**shape)
    assert [len(items_of([final])) for final in seen.finals] == [20, 20, 20, 20]
    # A block's index is its place on the time line, here from 7 on.
    for word, start, end in timed_words(seen.finals):
        assert start == pytest.approx((int(word[1:]) - 7) / 10)
        assert end == pytest.approx(start + 0.1)


def test_lets_partial_results_grow_every_half_second(patient_stand_in):
    seen = heard(patient_stand_in, indexed_audio(3.0))
    assert [len(items_of([partial])) for partial in seen.partials] == [5, 10, 15, 20, 25, 30]
    assert {result["ResultId"] for result in seen.results} == {seen.finals[0]["ResultId"]}
    assert len(items_of(seen.finals)) == 30
    assert not seen.results[-1]["IsPartial"]


def test_gives_results_in_the_format_of_the_service(patient_stand_in):
    seen = heard(patient_stand_in, indexed_audio(0.7))
    partial, final = seen.results
    assert (partial["IsPartial"], final["IsPartial"]) == (True, False)
    assert (final["StartTime"], final["EndTime"]) == (0.0, 0.7)
    alternative = final["Alternatives"][0]
    assert alternative["Transcript"] == "b000000 b000001 b000002 b000003 b000004 b000005 b000006."
    assert alternative["Items"][1] == {
        "Type": "pronunciation", "Content": "b000001", "StartTime": 0.1, "EndTime": 0.2, "Confidence": 0.901,
        "VocabularyFilterMatch": False,
    }  # fmt: skip
    assert alternative["Items"][-1] == {
        "Type": "punctuation", "Content": ".", "StartTime": 0.7, "EndTime": 0.7, "VocabularyFilterMatch": False,
    }  # fmt: skip
    assert all("Confidence" not in item for item in partial["Alternatives"][0]["Items"])
    assert "ChannelId" not in final and "LanguageCode" not in final


@pytest.mark.parametrize("size", [640, 3200, 8000, 7778, SECOND])
def test_hears_the_same_however_the_audio_is_cut(patient_stand_in, size):
    shape = {"seconds": 6.0, "speech": 1.3, "pause": 0.7}
    expected = heard(patient_stand_in, indexed_audio(**shape))
    seen = heard(patient_stand_in, chunks_of(b"".join(indexed_audio(**shape)), size))
    assert [timed_words([one]) for one in seen.results] == [timed_words([one]) for one in expected.results]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_hears_blocks_wherever_they_begin(patient_stand_in, rate):
    shifted = bytes(2 * 77) + b"".join(indexed_audio(2.0, rate, start=500))
    seen = heard(patient_stand_in, chunks_of(shifted, rate), sample_rate=rate)
    assert words_of(seen.finals) == indexed_words(2.0, start=500)
    assert items_of(seen.finals)[0]["StartTime"] == pytest.approx(77 / rate, abs=1e-4)


def test_hears_no_block_that_did_not_come_whole(patient_stand_in):
    audio = b"".join(indexed_audio(2.0))
    cut = len(block(0, RATE)) * 9 + 1000
    before = heard(patient_stand_in, chunks_of(audio[:cut], 3200))
    after = heard(patient_stand_in, chunks_of(audio[cut:], 3200))
    assert words_of(before.finals) == indexed_words(0.9)
    assert words_of(after.finals) == indexed_words(1.0, start=10)


@pytest.mark.parametrize("lost", range(0, 3200, 398))
def test_notices_a_single_lost_sample(patient_stand_in, lost):
    audio = b"".join(indexed_audio(0.5))
    damaged = audio[: 3200 + lost] + audio[3200 + lost + 2 :]
    seen = heard(patient_stand_in, chunks_of(damaged, 3200))
    assert words_of(seen.finals) == ["b000000", "b000002", "b000003", "b000004"]


def test_hears_blocks_that_were_mu_law_on_their_way(patient_stand_in):
    audio = b"".join(indexed_audio(1.0))
    companded = audioop.ulaw2lin(audioop.lin2ulaw(audio, 2), 2)
    assert companded == audio


def test_hears_nothing_in_silence(patient_stand_in):
    seen = heard(patient_stand_in, chunks_of(bytes(3 * SECOND), 3200))
    assert seen.results == []


def test_hears_two_channels_apart(patient_stand_in):
    left, right = b"".join(indexed_audio(2.0)), b"".join(indexed_audio(2.0, start=1000))
    seen = heard(
        patient_stand_in,
        chunks_of(interleaved(left, right), 6400),
        enable_channel_identification="true",
        number_of_channels=2,
    )
    by_channel = {name: [one for one in seen.finals if one["ChannelId"] == name] for name in ("ch_0", "ch_1")}
    assert words_of(by_channel["ch_0"]) == indexed_words(2.0)
    assert words_of(by_channel["ch_1"]) == indexed_words(2.0, start=1000)


def test_adds_what_parameters_ask_for(patient_stand_in):
    seen = heard(
        patient_stand_in,
        indexed_audio(1.0),
        language_code=None,
        identify_multiple_languages="true",
        language_options="en-US,es-US",
        show_speaker_label="true",
        enable_partial_results_stabilization="true",
    )
    partial, final = seen.partials[0], seen.finals[0]
    assert final["LanguageCode"] == "en-US"
    assert [one["LanguageCode"] for one in final["LanguageIdentification"]] == ["en-US", "es-US"]
    assert {item["Speaker"] for item in items_of([final])} == {"0"}
    assert [item["Stable"] for item in items_of([partial])] == [True, True, True, False, False]
    assert all(item["Stable"] for item in items_of([final]))


# Real words


def test_understands_recorded_speech(word_stand_in):
    clip = speech.joined("librivox-0880.wav", 1.0, "librivox-0890.wav", 1.0, "goforward.wav", 1.0).tobytes()
    seen = heard(word_stand_in, chunks_of(clip, 3200))
    said = [speech.transcripts()[f"{name}.wav"] for name in ("librivox-0880", "librivox-0890", "goforward")]
    understood = [word.lower() for word in words_of(seen.finals)]
    expected = speech.words(" ".join(said))
    assert speech.word_errors(expected, understood) < 0.6 * len(expected)
    assert len(seen.finals) == 3
    check_real_results(seen)


def check_real_results(seen):
    """Partials come before their final under its id, words are in order, confidences in finals alone."""
    told = set()
    for result in seen.results:
        assert result["ResultId"] not in told, "nothing follows a final"
        times = [(item["StartTime"], item["EndTime"]) for item in items_of([result])]
        assert times == sorted(times) and all(start < end for start, end in times)
        has_confidence = {"Confidence" in item for item in items_of([result])}
        assert has_confidence == {not result["IsPartial"]}
        if not result["IsPartial"]:
            told.add(result["ResultId"])
            assert all(0 <= item["Confidence"] <= 1 for item in items_of([result]))
            assert result["Alternatives"][0]["Transcript"].endswith(".")
    assert {result["ResultId"] for result in seen.partials} <= told
    assert len(seen.partials) > len(seen.finals)


@pytest.mark.parametrize("size", [640, 8000])
def test_understands_the_same_however_the_audio_is_cut(word_stand_in, size):
    clip = speech.joined("librivox-0930.wav", 0.8).tobytes()
    first = heard(word_stand_in, chunks_of(clip, 3200))
    again = heard(word_stand_in, chunks_of(clip, size))
    assert [timed_words([one]) for one in again.results] == [timed_words([one]) for one in first.results]
    assert first.finals


def test_understands_another_rate_and_two_speakers_at_once(word_stand_in):
    left, right = (speech.pcm(f"librivox-{name}.wav") for name in ("0880", "0930"))
    length = max(len(left), len(right))
    both = interleaved(left.ljust(length, b"\0"), right.ljust(length, b"\0"))
    both, _ = audioop.ratecv(both, 2, 2, RATE, 32_000, None)
    seen = heard(
        word_stand_in,
        chunks_of(both, 12_800),
        sample_rate=32_000,
        enable_channel_identification="true",
        number_of_channels=2,
    )
    for name, channel in (("0880", "ch_0"), ("0930", "ch_1")):
        understood = {word.lower() for word in words_of(one for one in seen.finals if one["ChannelId"] == channel)}
        expected = set(speech.words(speech.transcripts()[f"librivox-{name}.wav"]))
        assert len(expected & understood) >= 4, (understood, expected)


# Reports


def test_reports_what_it_was_sent(patient_stand_in):
    audio = b"".join(indexed_audio(3.0, speech=1.0, pause=0.5))
    seen = heard(patient_stand_in, chunks_of(audio, 6400), vocabulary_name="our-words")
    report = patient_stand_in.ended_stream()
    assert report["number"] == 1 and report["accepted"] and report["signature"] == "ok"
    assert report["parameters"] == {
        "language-code": "en-US", "media-encoding": "pcm", "sample-rate": "16000", "vocabulary-name": "our-words",
    }  # fmt: skip
    assert report["host"] == patient_stand_in.url.removeprefix("http://")
    assert (report["audio_seconds"], report["silence_seconds"]) == (3.0, 1.0)
    assert report["chunk_bytes"] == {"6400": 15}
    assert 2.0 < report["max_lead"] <= 3.0 and 2.0 < report["max_burst"] <= 3.0
    assert (report["ended"], report["audio_ended"], report["chunks_signed"]) == ("end of stream", True, False)
    assert report["finals"] == seen.finals and report["partials"] == len(seen.partials)


def test_forgets_everything_when_it_is_reset(stand_in):
    stand_in.change(mode="words", speed=3)
    stand_in.fault("close", at=3)

    async def talk():
        async with TranscribeClient(stand_in.url) as client:
            await client.send(bytes(3200))
            await asyncio.to_thread(stand_in.reset)
            await client.closed()
            return client.close_code

    assert asyncio.run(talk()) == 1006
    assert stand_in.streams() == [] and stand_in.faults() == []


@pytest.mark.parametrize(
    "method, path, body, expected",
    [
        ("POST", "/faults", {"action": "explode"}, "no action 'explode'"),
        ("POST", "/faults", {"action": "close", "at": "soon"}, "at is 'soon'"),
        ("POST", "/faults", {"action": "hang", "at": 2.0}, "leave out at"),
        ("POST", "/faults", {"action": "close", "when": 2}, "no 'when'"),
        ("POST", "/faults", {"action": "close", "stream": "first"}, "stream is 'first'"),
        ("PATCH", "/settings", {"sped": 2}, "no setting 'sped'"),
        ("PATCH", "/settings", {"speed": "fast"}, "speed is 'fast'"),
        ("PATCH", "/settings", {"mode": "singing"}, "mode is 'singing'"),
        ("GET", "/streams/1", None, "nothing at GET /streams/1"),
    ],
)
def test_refuses_orders_that_it_does_not_understand(stand_in, method, path, body, expected):
    with pytest.raises(AssertionError, match=expected):
        stand_in._ask(method, path, body)
