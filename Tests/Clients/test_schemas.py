"""The checker itself: it must refuse what an SDK would trip over."""

import copy

import pytest

from schemas import InvalidMessage, check_conversation, check_message, listen_validators

IDENTIFIER = "6a0d5a86-6d58-4b06-8f0c-6f0e9b6a2b55"
RESULTS = {
    "type": "Results", "channel_index": [0, 1], "start": 0.0, "duration": 1.0,
    "is_final": True, "speech_final": False, "from_finalize": False,
    "channel": {"alternatives": [{
        "transcript": "go", "confidence": 0.5,
        "words": [{"word": "go", "start": 0.1, "end": 0.3, "confidence": 0.5}],
    }]},
    "metadata": {
        "request_id": IDENTIFIER, "model_uuid": IDENTIFIER,
        "model_info": {"name": "a", "version": "b", "arch": "c"},
    },
}
METADATA = {
    "type": "Metadata", "transaction_key": "deprecated", "request_id": IDENTIFIER, "sha256": "0" * 64,
    "created": "2024-08-29T22:37:55.202Z", "duration": 1.0, "channels": 1,
}


def test_all_four_messages_have_a_schema():
    assert set(listen_validators()) == {"Results", "Metadata", "UtteranceEnd", "SpeechStarted"}


def test_good_messages_pass():
    check_message(RESULTS)
    check_message(METADATA)
    check_conversation([RESULTS, METADATA], IDENTIFIER)


@pytest.mark.parametrize(
    "path",
    ["metadata", "metadata.model_info.arch", "channel_index", "channel.alternatives.0.words.0.confidence",
     "start", "is_final", "from_finalize"],
)
def test_a_missing_field_is_found(path):
    message = copy.deepcopy(RESULTS)
    *parents, last = path.split(".")
    node = message
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    del node[last]
    with pytest.raises(InvalidMessage):
        check_message(message)


@pytest.mark.parametrize(
    "change",
    [{"type": "HansardNotice"}, {"start": "0"}, {"start": -1}, {"speech_final": True, "is_final": False},
     {"channel": {"alternatives": []}}, {"channel_index": [1, 1]}],
)
def test_a_bad_value_is_found(change):
    with pytest.raises(InvalidMessage):
        check_message(RESULTS | change)


@pytest.mark.parametrize(
    "messages",
    [[RESULTS], [METADATA, RESULTS], [RESULTS, METADATA, METADATA], [RESULTS, RESULTS, METADATA],
     [RESULTS, METADATA | {"request_id": "another"}]],
)
def test_a_bad_conversation_is_found(messages):
    with pytest.raises(AssertionError):
        check_conversation(messages)
