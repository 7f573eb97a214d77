"""The query parameters of a stream: which of them the service takes, and in which combinations."""

import re
from dataclasses import dataclass

from .errors import BadRequest

LANGUAGE_CHOICES = ("language-code", "identify-language", "identify-multiple-languages")
BOOLEANS = {
    "identify-language", "identify-multiple-languages", "show-speaker-label", "enable-channel-identification",
    "enable-partial-results-stabilization",
}  # fmt: skip
PII_TYPES = {
    "BANK_ACCOUNT_NUMBER", "BANK_ROUTING", "CREDIT_DEBIT_NUMBER", "CREDIT_DEBIT_CVV", "CREDIT_DEBIT_EXPIRY", "PIN",
    "EMAIL", "ADDRESS", "NAME", "PHONE", "SSN", "ALL",
}  # fmt: skip
CHOICES = {
    "vocabulary-filter-method": {"remove", "mask", "tag"},
    "partial-results-stability": {"low", "medium", "high"},
    "content-identification-type": {"PII"},
    "content-redaction-type": {"PII"},
}
OTHERS = {
    "sample-rate", "media-encoding", "language-code", "session-id", "vocabulary-name", "vocabulary-names",
    "vocabulary-filter-name", "vocabulary-filter-names", "language-model-name", "language-options",
    "preferred-language", "number-of-channels", "pii-entity-types",
}  # fmt: skip
LANGUAGE = re.compile(r"[a-z]{2,3}-[A-Z]{2}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class StreamParameters:
    """What matters to this stand-in in a stream's parameters."""

    rate: int
    channels: int
    channels_apart: bool
    language: str | None
    # The languages that may be found, if none is given.
    languages: tuple[str, ...]
    multiple_languages: bool
    speakers: bool
    stabilised: bool
    session_id: str | None

    @property
    def bytes_per_second(self) -> int:
        return self.rate * self.channels * BYTES_PER_SAMPLE


def stream_parameters(given: dict[str, str]) -> StreamParameters:
    """Reads them as the service would; a `BadRequest` says what it would refuse."""
    _check_values(given)
    languages = _check_languages(given)
    _check_combinations(given)
    return StreamParameters(
        rate=int(given["sample-rate"]),
        channels=int(given.get("number-of-channels", "1")),
        channels_apart=given.get("enable-channel-identification") == "true",
        language=given.get("language-code"),
        languages=languages,
        multiple_languages=given.get("identify-multiple-languages") == "true",
        speakers=given.get("show-speaker-label") == "true",
        stabilised=given.get("enable-partial-results-stabilization") == "true",
        session_id=given.get("session-id"),
    )


def _check_values(given: dict[str, str]) -> None:
    if unknown := sorted(given.keys() - BOOLEANS - CHOICES.keys() - OTHERS):
        raise BadRequest(f"Unknown parameters: {', '.join(unknown)}")
    rate = given.get("sample-rate", "")
    if not rate.isdecimal() or not 8000 <= int(rate) <= 48000:
        raise BadRequest("sample-rate must be between 8000 and 48000")
    if given.get("media-encoding") != "pcm":
        raise BadRequest("media-encoding must be pcm: this stand-in knows no other")
    for name in BOOLEANS & given.keys():
        if given[name] not in ("true", "false"):
            raise BadRequest(f"{name} must be true or false")
    for name in CHOICES.keys() & given.keys():
        if given[name] not in CHOICES[name]:
            raise BadRequest(f"{name} must be one of {', '.join(sorted(CHOICES[name]))}")
    if "session-id" in given and not UUID.fullmatch(given["session-id"]):
        raise BadRequest("session-id must be a UUID")


def _check_languages(given: dict[str, str]) -> tuple[str, ...]:
    chosen = [name for name in LANGUAGE_CHOICES if given.get(name, "false") != "false"]
    if len(chosen) != 1:
        raise BadRequest(f"Exactly one of {', '.join(LANGUAGE_CHOICES)} must be given, but {len(chosen)} are")
    options = tuple(filter(None, given.get("language-options", "").split(",")))
    for name, codes in (("language-code", [given.get("language-code", "en-US")]), ("language-options", options)):
        for code in codes:
            if not LANGUAGE.fullmatch(code):
                raise BadRequest(f"{name} has {code!r}, which is no language code")
    if chosen[0] == "language-code":
        if options or "preferred-language" in given:
            raise BadRequest("language-options and preferred-language need language identification")
        return ()
    if len(options) < 2:
        raise BadRequest("language-options must name at least two languages")
    if len({code.split("-")[0] for code in options}) < len(options):
        raise BadRequest("language-options may have one dialect of each language")
    if given.get("preferred-language", options[0]) not in options:
        raise BadRequest("preferred-language must be one of language-options")
    return options


def _check_combinations(given: dict[str, str]) -> None:
    def on(name: str) -> bool:
        return given.get(name) == "true"

    if "content-identification-type" in given and "content-redaction-type" in given:
        raise BadRequest("content-identification-type and content-redaction-type exclude each other")
    if "pii-entity-types" in given:
        if not {"content-identification-type", "content-redaction-type"} & given.keys():
            raise BadRequest("pii-entity-types needs content-identification-type or content-redaction-type")
        if unknown := sorted(set(given["pii-entity-types"].split(",")) - PII_TYPES):
            raise BadRequest(f"pii-entity-types has {', '.join(unknown)}")
    if on("enable-channel-identification") != ("number-of-channels" in given):
        raise BadRequest("enable-channel-identification and number-of-channels need each other")
    if given.get("number-of-channels", "2") != "2":
        raise BadRequest("number-of-channels must be 2")
    if on("show-speaker-label") and on("enable-channel-identification"):
        raise BadRequest("show-speaker-label and enable-channel-identification exclude each other")
    if "partial-results-stability" in given and not on("enable-partial-results-stabilization"):
        raise BadRequest("partial-results-stability needs enable-partial-results-stabilization")
    if "vocabulary-filter-method" in given and not {"vocabulary-filter-name", "vocabulary-filter-names"} & given.keys():
        raise BadRequest("vocabulary-filter-method needs a vocabulary filter")
