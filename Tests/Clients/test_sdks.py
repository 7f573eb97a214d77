"""Unmodified Deepgram SDKs stream real speech: one conversation per version, all at once, looked at from all sides."""

import hashlib

import pytest

import sdk
import speech
from engines import check_text
from listen import text_of, transcript_of
from schemas import check_conversation, check_message

# The protocol is the same whoever listens.
EVERY_ENGINE = True
OPTIONS = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000", "interim_results": "true"}
FIRST, SECOND = "goforward.wav", "librivox-0880.wav"
CUT = len(speech.samples(FIRST)) / speech.RATE
PAUSE = 12
STEPS = [
    {"audio": [0, CUT]},
    "finalize",
    {"keep_alive": PAUSE, "every": 4},
    {"audio": [CUT, None]},
    "close",
]
PARSED_AS = {
    "4.8.1": {"Results": "LiveResultResponse", "Metadata": "MetadataResponse"},
    "5.3.0": {"Results": "ListenV1ResultsEvent", "Metadata": "ListenV1MetadataEvent"},
    "6.0.1": {"Results": "ListenV1Results", "Metadata": "ListenV1Metadata"},
    "7.17.0": {"Results": "ListenV1Results", "Metadata": "ListenV1Metadata"},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return speech.write_wav(tmp_path_factory.mktemp("clip") / "clip.wav", speech.joined(FIRST, SECOND))


@pytest.fixture(scope="module")
def conversations(speech_server, clip):
    drivers = {version: sdk.start(version, speech_server, clip, OPTIONS, STEPS) for version in sdk.VERSIONS}
    return {version: sdk.result(version, driver) for version, driver in drivers.items()}


@pytest.fixture(params=sdk.VERSIONS)
def conversation(request, conversations) -> sdk.Transcription:
    return conversations[request.param]


def test_no_errors(conversation):
    assert conversation.of("error") == [], conversation.errors
    assert len(conversation.of("open")) == 1


def test_every_message_meets_the_schema(conversation):
    assert conversation.raw(), conversation.errors
    for message in conversation.raw():
        check_message(message)
    check_conversation(conversation.raw())


def test_the_sdk_understood_every_message(conversation):
    expected = [(message["type"], PARSED_AS[conversation.version][message["type"]]) for message in conversation.raw()]
    understood = [(line["value"]["type"], line["type"]) for line in conversation.of("message")]
    assert understood == expected


def test_interim_results_come_before_finals(conversation):
    results = conversation.parsed("Results")
    spoken = [result for result in results if transcript_of(result)]
    assert spoken and not spoken[0]["is_final"]
    assert any(result["is_final"] for result in spoken)


def test_the_text(conversation, speech_server):
    acknowledged = next(i for i, final in enumerate(conversation.finals()) if final["from_finalize"])
    before = text_of(conversation.finals()[: acknowledged + 1])
    after = text_of(conversation.finals()[acknowledged + 1 :])
    check_text(speech_server, before, FIRST)
    reference = speech.words(speech.transcripts()[SECOND])
    assert speech.word_errors(reference, speech.words(after)) <= len(reference) // 2, after


def test_finalize_is_acknowledged_exactly_once(conversation):
    acknowledgements = [result for result in conversation.raw() if result.get("from_finalize")]
    assert len(acknowledgements) == 1
    assert acknowledgements[0]["is_final"]
    assert acknowledgements[0]["start"] + acknowledgements[0]["duration"] == pytest.approx(CUT, abs=0.011)


def test_keep_alive_holds_the_session_over_a_pause(conversation):
    kept_alive = [line["at"] for line in conversation.of("sent") if line["what"] == "KeepAlive"]
    assert len(kept_alive) == 2
    after = [line for line in conversation.of("raw") if line["at"] > kept_alive[-1] and line["audio"] > CUT]
    assert any(line["message"].get("is_final") for line in after)


def test_metadata_tells_what_was_sent(conversation, clip):
    (metadata,) = conversation.parsed("Metadata")
    audio = speech.joined(FIRST, SECOND)
    assert metadata["duration"] == pytest.approx(len(audio) / speech.RATE, abs=0.001)
    assert metadata["channels"] == 1
    assert metadata["sha256"] == hashlib.sha256(audio.tobytes()).hexdigest()


def test_closes_in_good_order(conversation):
    assert conversation.close_code() == 1000


@pytest.mark.parametrize("version", sdk.VERSIONS)
def test_wav_without_encoding(version, speech_server):
    options = {"model": "nova-3", "interim_results": "true"}
    conversation = sdk.transcribe(
        version, speech_server, speech.path(FIRST), options, [{"audio": [0, None]}, "close"], pace=2
    )
    assert conversation.of("error") == [], conversation.errors
    check_text(speech_server, text_of(conversation.finals()), FIRST)
    assert conversation.close_code() == 1000


def test_finish_of_4_8_1_completes_the_session(speech_server):
    """It closes half a second after its CloseStream, whether Metadata has come or not; what was said is stored."""
    conversation = sdk.transcribe(
        "4.8.1", speech_server, speech.path(FIRST), OPTIONS, [{"audio": [0, None]}, "finish"]
    )
    assert conversation.of("error") == [], conversation.errors
    request_id = conversation.raw()[0]["metadata"]["request_id"]
    assert speech_server.end_of(request_id) == "completed"
    answer = speech_server.get(f"/v1/transcripts/{request_id}?format=txt", speech_server.key)
    check_text(speech_server, text_of_transcript(answer), FIRST)


def text_of_transcript(answer) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(speech.words(answer.text))


@pytest.mark.parametrize("version", sdk.VERSIONS)
def test_a_bad_key_is_told_by_status(version, speech_server):
    arguments = {"access_token": "not-a-token"}
    conversation = sdk.transcribe(version, speech_server, speech.path(FIRST), OPTIONS, ["close"], **arguments)
    (error,) = conversation.of("error")
    assert error["where"] == "driver"
    assert error["status"] == 401 or "401" in error["text"], error


@pytest.mark.parametrize("version", ["4.8.1", "7.17.0"])
def test_a_granted_token_opens_a_session(version, speech_server):
    granted = speech_server.post("/v1/auth/grant", {"ttl_seconds": 30}, f"Token {speech_server.key}").json()
    conversation = sdk.transcribe(
        version, speech_server, speech.path(FIRST), OPTIONS, [{"audio": [0, 1]}, "close"], pace=0,
        access_token=granted["access_token"],
    )
    assert conversation.of("error") == [], conversation.errors
    assert conversation.close_code() == 1000
