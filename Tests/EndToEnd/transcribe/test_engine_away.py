"""Amazon Transcribe is away for long, or for good, or takes audio and says nothing. All of it at the same time."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from listen import ListenSession
from relayed import EngineCounts, Relayed, block_words, blocks, check_blocks, texts
from schemas import check_conversation
from server import Server
from transcribe import KEY, Certificate, TranscribeStandIn

UNAVAILABLE = (1011, "engine unavailable")
SPEED = 8
SECONDS = 42.0
# Of the relay's minute of patience, with the last pause and the last attempt.
GIVEN_UP_WITHIN = 85
# Of 15 s without an answer, with a ping's time.
STALL_SEEN_WITHIN = 40
# Attempts become rare, and only the first of them is told.
LINES = 4


@dataclass(frozen=True)
class Outcome:
    """What became of a session."""

    session: ListenSession
    close: tuple[int, str]
    seconds: float
    counts: EngineCounts
    warnings: list[dict]
    streams: list[dict]
    state: str

    def messages(self) -> list[dict]:
        return self.session.messages()

    def engine_warnings(self) -> list[dict]:
        """Those of the product itself."""
        return [line for line in self.warnings if "engine" in line]


def server_of(stand_in: TranscribeStandIn, **settings: str) -> Server:
    speed = {"HANSARD_ENGINE": "amazon-transcribe", "HANSARD_ENGINE_SPEED": str(SPEED)}
    return Server(**speed, **stand_in.environment(KEY), **settings)


def new_stand_in(*arguments, **settings) -> TranscribeStandIn:
    return TranscribeStandIn(*arguments, mode="blocks", pace_rate=2 * SPEED, lead_seconds=5.0 * SPEED, **settings)


def converse(relay: Relayed, seconds: float, pause: float = 0) -> Outcome:
    """A client that speaks, may be silent for a while, and ends; or is told that there is no engine."""
    before = time.monotonic()
    with relay.session() as session:
        sender = threading.Thread(target=speak, args=(session, seconds, pause), daemon=True)
        sender.start()
        close = session.wait_closed(150)
        took = time.monotonic() - before
        sender.join(20)
    counts, warnings = relay.counts(), relay.warnings()
    streams = relay.stand_in.streams() if relay.stand_in.subprocess else []
    return Outcome(session, close, took, counts, warnings, streams, relay.server.end_of(session.request_id))


def speak(session: ListenSession, seconds: float, pause: float) -> None:
    try:
        session.send(blocks(seconds), pace=SPEED)
        until = time.monotonic() + pause
        while time.monotonic() < until:
            session.keep_alive()
            time.sleep(2)
        if pause:
            session.close_stream()
    except Exception:
        return  # closed by the server


# The cases


def name_that_is_not_known() -> Outcome:
    stand_in = new_stand_in()
    stand_in.host, stand_in.port = "does-not-exist.invalid", 8443
    with server_of(stand_in) as server:
        return converse(Relayed(stand_in, server), 3, pause=120)


def nobody_listens() -> Outcome:
    with new_stand_in() as stand_in:
        stand_in.stop()
        with server_of(stand_in) as server:
            stand_in.subprocess = None
            return converse(Relayed(stand_in, server), 3, pause=120)


def unknown_authority(folder) -> Outcome:
    with new_stand_in(Certificate(folder, "localhost")) as stand_in, server_of(stand_in) as server:
        return converse(Relayed(stand_in, server), 3, pause=120)


def known_authority(folder) -> Outcome:
    certificate = Certificate(folder, "localhost")
    settings = {"HANSARD_ENGINE_AUTHORITIES": str(certificate.authority)}
    with new_stand_in(certificate) as stand_in, server_of(stand_in, **settings) as server:
        return converse(Relayed(stand_in, server), SECONDS, pause=1)


def another_name(folder) -> Outcome:
    """A good certificate, of somebody else."""
    certificate = Certificate(folder, "elsewhere.example")
    settings = {"HANSARD_ENGINE_AUTHORITIES": str(certificate.authority)}
    with new_stand_in(certificate) as stand_in:
        stand_in.host = "localhost"
        with server_of(stand_in, **settings) as server:
            return converse(Relayed(stand_in, server), 3, pause=120)


def away_for_30_s() -> Outcome:
    with new_stand_in() as stand_in, server_of(stand_in) as server:
        stand_in.fault("exception", at=20, stream=1, exception="ServiceUnavailableException")
        for stream in range(2, 20):
            stand_in.fault("refuse", status=503, stream=stream, seconds=30)
        return converse(Relayed(stand_in, server), SECONDS, pause=32)


def stalled() -> Outcome:
    with new_stand_in(receive_buffer=8192) as stand_in, server_of(stand_in) as server:
        stand_in.fault("stall", at=6.5, stream=1)
        return converse(Relayed(stand_in, server), SECONDS, pause=2)


def mute() -> Outcome:
    with new_stand_in() as stand_in, server_of(stand_in) as server:
        stand_in.fault("mute", at=6.5, stream=1)
        return converse(Relayed(stand_in, server), SECONDS, pause=18)


def mute_at_the_end() -> Outcome:
    """It has said nothing for some seconds when the client ends."""
    with new_stand_in() as stand_in, server_of(stand_in) as server:
        stand_in.fault("mute", at=6.5, stream=1)
        return converse(Relayed(stand_in, server), SECONDS, pause=0.5)


def failing_at_the_end() -> Outcome:
    """Each stream says what it understood so far, and fails before it is sure of it."""
    with new_stand_in() as stand_in, server_of(stand_in) as server:
        stand_in.fault("exception", at="end", times=None)
        return converse(Relayed(stand_in, server), 7, pause=0.5)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All cases run at once: most of their time is waiting."""
    names = ("own", "foreign", "good")
    own, foreign, good = (tmp_path_factory.mktemp(name) for name in names)
    with ThreadPoolExecutor(10) as threads:
        yield {
            "unknown name": threads.submit(name_that_is_not_known),
            "nobody listens": threads.submit(nobody_listens),
            "unknown authority": threads.submit(unknown_authority, own),
            "another name": threads.submit(another_name, foreign),
            "known authority": threads.submit(known_authority, good),
            "away for 30 s": threads.submit(away_for_30_s),
            "stalled": threads.submit(stalled),
            "mute": threads.submit(mute),
            "mute at the end": threads.submit(mute_at_the_end),
            "failing at the end": threads.submit(failing_at_the_end),
        }


def outcome_of(outcomes: dict[str, Future], name: str) -> Outcome:
    return outcomes[name].result(timeout=240)


@pytest.mark.parametrize("name", ["unknown name", "nobody listens", "unknown authority", "another name"])
def test_an_engine_that_is_not_there_ends_the_session_with_one_clear_close(outcomes, name):
    outcome = outcome_of(outcomes, name)
    assert outcome.close == UNAVAILABLE
    assert outcome.seconds <= GIVEN_UP_WITHIN
    assert texts(outcome.session.finals()) == []
    assert outcome.state == "failed"
    assert not outcome.counts.reachable and outcome.counts.failed >= 3 and outcome.counts.worked == 0
    assert 1 <= len(outcome.engine_warnings()) <= LINES
    assert KEY.secret not in str(outcome.warnings)


@pytest.mark.parametrize("name", ["unknown authority", "another name"])
def test_attempts_with_a_wrong_certificate_are_not_a_flood_in_the_log(outcomes, name):
    assert len(outcome_of(outcomes, name).warnings) <= LINES


def test_why_it_is_not_there_is_in_the_log(outcomes):
    said = {
        "unknown name": "does-not-exist.invalid",
        "unknown authority": "certificate is not accepted: unable to get local issuer certificate",
        "another name": "certificate is not accepted: hostname mismatch",
    }
    for name, part in said.items():
        assert part in str(outcome_of(outcomes, name).warnings).lower()


def test_no_audio_goes_to_whom_we_do_not_know(outcomes):
    for name in ("unknown authority", "another name"):
        assert outcome_of(outcomes, name).streams == []


@pytest.mark.parametrize("name", ["known authority", "away for 30 s", "stalled", "mute", "mute at the end"])
def test_all_is_heard_in_the_end(outcomes, name):
    outcome = outcome_of(outcomes, name)
    assert outcome.close[0] == 1000
    check_conversation(outcome.messages(), outcome.session.request_id)
    check_blocks(outcome.session.finals(), block_words(SECONDS))
    assert outcome.state == "completed"
    assert outcome.counts.reachable
    assert len(outcome.warnings) <= LINES


@pytest.mark.parametrize("name", ["stalled", "mute", "mute at the end"])
def test_who_says_nothing_is_left(outcomes, name):
    outcome = outcome_of(outcomes, name)
    assert outcome.seconds <= STALL_SEEN_WITHIN
    assert outcome.counts.failed >= 1
    assert len(outcome.streams) == 2


def test_who_is_away_for_30_s_is_asked_now_and_then(outcomes):
    outcome = outcome_of(outcomes, "away for 30 s")
    refused = [report for report in outcome.streams if not report["accepted"]]
    assert 3 <= len(refused) <= 9
    assert outcome.counts.failed == 1 + len(refused)


def test_who_always_fails_at_the_same_place_is_given_up(outcomes):
    """Each attempt is billed: they become rare, and end."""
    outcome = outcome_of(outcomes, "failing at the end")
    assert outcome.close == UNAVAILABLE
    assert outcome.seconds <= GIVEN_UP_WITHIN
    # What was final before stays, and comes once; what was seen last is kept with it.
    shown = texts([one for one in outcome.session.messages("Results") if not one["is_final"]][-1:])
    assert shown and shown[0] == "b000056"
    check_blocks(outcome.session.finals(), [word for word in block_words(7) if word < "b000048"] + shown)
    assert 3 <= len(outcome.streams) < 20
    assert outcome.state == "failed"
