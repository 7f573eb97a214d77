"""What a message of the server must look like: Deepgram's own schemas, and the rules they leave to prose."""

import threading
from functools import cache

import yaml
from jsonschema import Draft7Validator, FormatChecker

from places import ASYNCAPI

LARGEST_MESSAGE = 64 * 1024
# Fields that the schemas leave optional, and that clients read all the same.
ALWAYS_IN_RESULTS = {"is_final": bool, "speech_final": bool, "from_finalize": bool}


class InvalidMessage(AssertionError):
    """A message that an SDK may trip over."""


_reading = threading.Lock()


def listen_validators() -> dict[str, Draft7Validator]:
    """One validator per type of message that the document lists under /v1/listen's server messages."""
    # `cache` alone lets every thread of a crowd read the document by itself, which takes a second of CPU each.
    with _reading:
        return _read_validators()


@cache
def _read_validators() -> dict[str, Draft7Validator]:
    document = yaml.safe_load(ASYNCAPI.read_text())
    validators = {}
    for reference in document["channels"]["/v1/listen"]["publish"]["message"]["oneOf"]:
        payload = _resolve(document, _resolve(document, reference)["payload"])
        schema = {**payload, "components": document["components"]}
        (kind,) = _resolve(document, payload["properties"]["type"])["enum"]
        Draft7Validator.check_schema(schema)
        validators[kind] = Draft7Validator(schema, format_checker=FormatChecker())
    return validators


# For clients that asked for them (`hansard_events`) and therefore know them.
OUR_OWN = ("HansardQuotaWarning", "HansardQuotaExhausted")


def check_message(message: dict, size: int = 0) -> None:
    """Raises InvalidMessage unless the message is one that every SDK can read."""
    kind = message.get("type")
    if kind in OUR_OWN:
        return
    if kind not in listen_validators():
        raise InvalidMessage(f"type {kind!r} is none of {sorted(listen_validators())}: {message}")
    for error in listen_validators()[kind].iter_errors(message):
        raise InvalidMessage(f"{kind} at {error.json_path}: {error.message}: {message}")
    if size > LARGEST_MESSAGE:
        raise InvalidMessage(f"{kind} has {size} bytes")
    if kind == "Results":
        _check_results(message)


def _check_results(message: dict) -> None:
    for name, kind in ALWAYS_IN_RESULTS.items():
        if not isinstance(message.get(name), kind):
            raise InvalidMessage(f"Results.{name} is {message.get(name)!r}: {message}")
    channel, count = message["channel_index"]
    if not 0 <= channel < count:
        raise InvalidMessage(f"channel_index {message['channel_index']}")
    if message["speech_final"] and not message["is_final"]:
        raise InvalidMessage(f"speech_final without is_final: {message}")
    if message["start"] < 0 or message["duration"] < 0:
        raise InvalidMessage(f"a negative time: {message}")
    if not message["channel"]["alternatives"]:
        raise InvalidMessage(f"no alternative: {message}")
    for word in message["channel"]["alternatives"][0]["words"]:
        if word["start"] > word["end"] or not 0 <= word["confidence"] <= 1:
            raise InvalidMessage(f"word {word}")


def check_conversation(messages: list[dict], request_id: str | None = None) -> None:
    """What must hold over a whole session that was closed in good order."""
    kinds = [message["type"] for message in messages]
    assert kinds.count("Metadata") == 1, f"Metadata comes once: {kinds}"
    assert kinds[-1] == "Metadata", f"Metadata comes last: {kinds[-5:]}"
    identifiers = {_request_id(message) for message in messages} - {None}
    assert len(identifiers) == 1, f"one request_id in all messages: {identifiers}"
    if request_id:
        assert identifiers == {request_id}, "the messages' request_id is the handshake's dg-request-id"
    for channel in {message["channel_index"][0] for message in messages if message["type"] == "Results"}:
        _check_tiling([m for m in messages if m["type"] == "Results" and m["channel_index"][0] == channel])


def _check_tiling(results: list[dict]) -> None:
    """Finals tile the time line, and no interim result says anything about time that is already final."""
    final_until = 0.0
    for result in results:
        start, end = result["start"], result["start"] + result["duration"]
        if result["is_final"]:
            assert abs(start - final_until) < 0.011, f"a final starts at {start}, the one before ended at {final_until}"
            final_until = end
        else:
            assert start > final_until - 0.011, f"an interim starts at {start}, final until {final_until}"


def _request_id(message: dict) -> str | None:
    return message.get("request_id") or message.get("metadata", {}).get("request_id")


def _resolve(document: dict, node: dict) -> dict:
    """Follows local references: #/components/<section>/<name>. The document does not escape the slashes in its names."""
    while "$ref" in node:
        section, name = node["$ref"].removeprefix("#/components/").split("/", 1)
        node = document["components"][section][name]
    return node
