"""What a client asks for reaches Amazon Transcribe in its own words: signing, credentials, channels, languages."""

from array import array
from itertools import chain

import pytest

from listen import LINEAR16, handshake, refusal, token
from relayed import Relayed, block_words, blocks, check_blocks
from schemas import check_conversation
from server import Server
from transcribe import TEMPORARY_KEY, TranscribeStandIn, interleaved

SPEED = 8
SECONDS = 8.4


@pytest.fixture(scope="module")
def running_signed():
    """Every message is signed, with credentials that have a token, and several languages may be told apart."""
    with (
        TranscribeStandIn(
            mode="blocks", chunk_signing="required", pace_rate=2 * SPEED, lead_seconds=5.0 * SPEED
        ) as stand_in,
        Server(
            HANSARD_ENGINE="amazon-transcribe", HANSARD_ENGINE_SPEED=str(SPEED), HANSARD_TRANSCRIBE_SIGNING="messages",
            HANSARD_TRANSCRIBE_LANGUAGES="en-GB,de-DE,fr-FR", **stand_in.environment(TEMPORARY_KEY),
        ) as server,
    ):
        yield Relayed(stand_in, server, SPEED)


@pytest.fixture
def signed(running_signed) -> Relayed:
    running_signed.stand_in.reset()
    return running_signed


def spoken(relay: Relayed, **parameters: str) -> dict:
    """The parameters of the stream that came of a session with these; its words are right."""
    with relay.session(**parameters) as session:
        session.send(blocks(SECONDS), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(SECONDS))
    streams = relay.stand_in.all_ended()
    assert all(stream["signature"] == "ok" for stream in streams)
    return streams[-1]["parameters"]


# Signing


def test_each_message_is_signed(signed):
    spoken(signed)
    assert signed.stand_in.stream(1)["chunks_signed"]
    assert signed.stand_in.stream(1)["audio_ended"]


def test_each_message_is_signed_anew_after_a_failure(signed):
    signed.stand_in.fault("reset", at=3.5)
    spoken(signed)
    assert [stream["chunks_signed"] for stream in signed.stand_in.all_ended()] == [True, True]


def test_secrets_stay_out_of_the_log(signed):
    signed.stand_in.fault("refuse", status=403)
    spoken(signed)
    log = signed.server.log()
    for secret in (TEMPORARY_KEY.secret, TEMPORARY_KEY.token, "X-Amz-Signature", "X-Amz-Credential"):
        assert secret not in log


def test_the_handshake_alone_is_signed_unless_it_is_asked_for(relay):
    spoken(relay)
    assert not relay.stand_in.stream(1)["chunks_signed"]


# Languages


@pytest.mark.parametrize(
    ("asked", "given"), [("en", "en-US"), ("en-GB", "en-GB"), ("de", "de-DE"), ("pt-PT", "pt-PT"), ("EN-us", "en-US")]
)
def test_a_language(relay, asked, given):
    parameters = spoken(relay, language=asked)
    assert parameters["language-code"] == given
    assert "language-options" not in parameters and "identify-multiple-languages" not in parameters


def test_several_languages(signed):
    parameters = spoken(signed, language="multi")
    assert parameters["identify-multiple-languages"] == "true"
    assert parameters["language-options"] == "en-GB,de-DE,fr-FR"
    assert "language-code" not in parameters


def test_a_language_that_the_service_does_not_know(relay):
    answer = handshake(relay.server, LINEAR16 | {"language": "tlh"}, token(relay.server.key))
    assert answer.status in (400, 403), answer
    refusal(answer, answer.status)
    assert relay.stand_in.streams() == []


# Speakers, channels and personal information


def test_speakers(relay):
    parameters = spoken(relay, diarize="true")
    assert parameters["show-speaker-label"] == "true"


def test_speakers_are_numbers(relay):
    with relay.session(diarize="true") as session:
        session.send(blocks(SECONDS), pace=relay.pace)
        session.finish()
    words = [word for final in session.finals() for word in final["channel"]["alternatives"][0]["words"]]
    assert words and all(isinstance(word["speaker"], int) for word in words)


def test_redaction_of_payment_cards(relay):
    parameters = spoken(relay, redact="pci")
    assert parameters["content-redaction-type"] == "PII"
    assert set(parameters["pii-entity-types"].split(",")) == {
        "CREDIT_DEBIT_NUMBER", "CREDIT_DEBIT_CVV", "CREDIT_DEBIT_EXPIRY",
    }  # fmt: skip


def test_redaction_of_all(relay):
    parameters = spoken(relay, redact="true")
    assert parameters["content-redaction-type"] == "PII"


def test_redaction_that_the_service_cannot_do_is_refused(relay):
    answer = handshake(relay.server, LINEAR16 | {"redact": "numbers"}, token(relay.server.key))
    refusal(answer, 400)


@pytest.mark.parametrize("fails", [False, True], ids=["all along", "with a failure"])
def test_two_channels_apart(relay, fails):
    if fails:
        relay.stand_in.fault("reset", at=4.2)
    # Each channel has its own pauses, so that its finals come at other times.
    others = {"speech": 1.2, "pause": 0.9}
    with relay.session(channels="2", multichannel="true") as session:
        session.bytes_per_second *= 2
        session.send(interleaved(blocks(SECONDS), blocks(SECONDS, **others)), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    check_blocks(session.finals(), block_words(SECONDS), channel=0)
    check_blocks(session.finals(), block_words(SECONDS, **others), channel=1)
    streams = relay.stand_in.all_ended()
    assert len(streams) == 1 + fails
    for stream in streams:
        assert stream["parameters"]["enable-channel-identification"] == "true"
        assert stream["parameters"]["number-of-channels"] == "2"


def test_more_channels_than_the_service_tells_apart(relay):
    """Each has a stream of its own."""
    pauses = [{}, {"speech": 1.2, "pause": 0.9}, {"speech": 2.6, "pause": 0.5}]
    channels = [array("h", blocks(SECONDS, **own)) for own in pauses]
    with relay.session(channels="3", multichannel="true") as session:
        session.bytes_per_second *= 3
        session.send(array("h", chain.from_iterable(zip(*channels, strict=True))).tobytes(), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    for channel, own in enumerate(pauses):
        check_blocks(session.finals(), block_words(SECONDS, **own), channel=channel)
    streams = relay.stand_in.all_ended()
    assert len(streams) == 3
    assert all("number-of-channels" not in stream["parameters"] for stream in streams)


# Rates


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates(relay, rate):
    with relay.session(sample_rate=str(rate)) as session:
        session.bytes_per_second = 2 * rate
        session.send(blocks(SECONDS, rate=rate), pace=relay.pace)
        messages = session.finish()
    check_conversation(messages, session.request_id)
    (stream,) = relay.stand_in.all_ended()
    # What is not the service's is made its own before; blocks survive only what leaves samples as they are.
    if stream["parameters"]["sample-rate"] == str(rate):
        check_blocks(session.finals(), block_words(SECONDS))
