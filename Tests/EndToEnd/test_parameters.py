"""Query parameters: a bad value of a known one is refused with its name and what would be right; the rest goes through."""

import pytest

from engines import LOCAL
from listen import LINEAR16, handshake, refusal, token

EVERY_ENGINE = True

# parameter, bad value, something that the answer must say besides the parameter's name
BAD_VALUES = [
    ("encoding", "nonsense", "linear16"),
    ("encoding", "", "linear16"),
    ("encoding", "opus", "linear16"),
    ("encoding", "g729", "mulaw"),
    ("sample_rate", "fast", "8000"),
    ("sample_rate", "7999", "8000"),
    ("sample_rate", "48001", "48000"),
    ("sample_rate", "-16000", "8000"),
    ("sample_rate", "16000.5", "8000"),
    ("sample_rate", "99999999999999999999", "48000"),
    ("channels", "0", "1"),
    ("channels", "two", "1"),
    ("channels", "100000", "1"),
    ("language", "xx", "en"),
    ("endpointing", "soon", "false"),
    ("endpointing", "-1", "false"),
    ("utterance_end_ms", "999", "1000"),
    ("utterance_end_ms", "late", "1000"),
    ("multichannel", "2", "true"),
    ("interim_results", "maybe", "true"),
    ("vad_events", "maybe", "true"),
    ("punctuate", "maybe", "true"),
    ("smart_format", "maybe", "true"),
    ("numerals", "maybe", "true"),
    ("dictation", "maybe", "true"),
    ("profanity_filter", "maybe", "true"),
    ("diarize", "maybe", "true"),
    ("diarize_model", "v2", "latest"),
    ("detect_entities", "maybe", "true"),
    ("mip_opt_out", "maybe", "true"),
    ("hansard_events", "maybe", "true"),
    ("callback", "https://example.com/results", ""),
    ("callback_method", "POST", ""),
]

# The same, of what another engine can do.
BEYOND_THE_LOCAL_ENGINE = [
    ("language", "fr", "en"),
    ("language", "multi", "en"),
    ("redact", "pci", ""),
    ("redact", "true", ""),
]

HARMLESS = [
    [("alternatives", "1"), ("no_delay", "true"), ("filler_words", "true"), ("tier", "nova")],
    [("diarize_version", "1"), ("measurements", "true"), ("something_new", "whatever")],
    [("keyterm", "go forward"), ("keyterm", "ten"), ("tag", "a"), ("tag", "b"), ("extra", "call:42")],
    [("keywords", "meters:2"), ("replace", "ten:10"), ("search", "forward")],
    [("redact", "false"), ("endpointing", "false")],
    [("endpointing", "true"), ("version", "latest"), ("language", "en-US")],
    [("smart_format", "true"), ("numerals", "true"), ("diarize", "true"), ("mip_opt_out", "true")],
    [("interim_results", "true"), ("utterance_end_ms", "1000"), ("vad_events", "true")],
]


@pytest.mark.parametrize(("name", "value", "hint"), BAD_VALUES)
def test_a_bad_value_is_refused(speech_server, name, value, hint):
    check_refusal(speech_server, name, value, hint)


@pytest.mark.parametrize(("name", "value", "hint"), BEYOND_THE_LOCAL_ENGINE)
def test_what_the_local_engine_cannot_do_is_refused(engine_servers, name, value, hint):
    check_refusal(engine_servers[LOCAL], name, value, hint)


def check_refusal(server, name, value, hint):
    answer = handshake(server, LINEAR16 | {name: value}, token(server.key))
    body = refusal(answer, 400)
    assert name in body["err_msg"] and hint in body["err_msg"], body["err_msg"]
    assert name in answer.headers["dg-error"]


def test_raw_audio_needs_a_sample_rate(speech_server):
    answer = handshake(speech_server, {"model": "nova-3", "encoding": "linear16"}, token(speech_server.key))
    assert "sample_rate" in refusal(answer, 400)["err_msg"]


def test_utterance_ends_need_interim_results(speech_server):
    answer = handshake(speech_server, LINEAR16 | {"utterance_end_ms": "1000"}, token(speech_server.key))
    assert "interim_results" in refusal(answer, 400)["err_msg"]


@pytest.mark.parametrize("extra", HARMLESS)
def test_what_real_clients_send_goes_through(speech_server, extra):
    answer = handshake(speech_server, [*LINEAR16.items(), *extra], token(speech_server.key))
    assert answer.status == 101, answer.body
    assert answer.headers["dg-request-id"]
    speech_server.wait_for_quiet()


def test_a_bad_key_is_told_before_a_bad_parameter(speech_server):
    """Or strangers could probe what the server supports."""
    refusal(handshake(speech_server, LINEAR16 | {"encoding": "nonsense"}), 401)


def test_control_characters_do_not_reach_the_headers(speech_server):
    answer = handshake(speech_server, LINEAR16 | {"encoding": "a\r\nset-cookie: b=c"}, token(speech_server.key))
    assert answer.status == 400
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/v2/listen", "/v1/listening", "/v1/models"])
def test_other_paths_are_not_found(speech_server, path):
    assert speech_server.get(path, speech_server.key).status_code == 404
