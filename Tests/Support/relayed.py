"""What comes back through `hansard` from an engine elsewhere, and what the server says of that engine."""

import math
import time
from dataclasses import dataclass

from listen import LINEAR16, ListenSession
from transcribe import TranscribeStandIn, indexed_audio, indexed_words

INTERIM = LINEAR16 | {"interim_results": "true"}
# Utterances of indexed blocks: so long is spoken, and so long is the pause after it.
SPEECH, PAUSE = 2.0, 0.8
# Times are told in milliseconds.
TOLERANCE = 0.0011
# What a stand-in says in frames that nobody may believe.
FALSE_WORD = "spoilt"


def blocks(seconds: float, start: int = 0, rate: int = 16_000, speech: float = SPEECH, pause: float = PAUSE) -> bytes:
    return b"".join(indexed_audio(seconds, rate, start, speech, pause))


def block_words(seconds: float, start: int = 0, speech: float = SPEECH, pause: float = PAUSE) -> list[str]:
    return indexed_words(seconds, start, speech, pause)


def words_in(results: list[dict], channel: int = 0) -> list[dict]:
    """The words of these results of one channel, one after the other."""
    return [
        word
        for result in results
        if result["channel_index"][0] == channel
        for word in result["channel"]["alternatives"][0]["words"]
    ]


def texts(results: list[dict], channel: int = 0) -> list[str]:
    return [word["word"] for word in words_in(results, channel)]


def check_blocks(results: list[dict], expected: list[str], channel: int = 0) -> None:
    """These words, each once, and each at the time that its block had in the client's audio."""
    heard = words_in(results, channel)
    assert [word["word"] for word in heard] == expected
    for word in heard:
        at = int(word["word"].removeprefix("b")) / 10
        assert math.isclose(word["start"], at, abs_tol=TOLERANCE), word
        assert math.isclose(word["end"], at + 0.1, abs_tol=TOLERANCE), word


def models(results: list[dict]) -> list[str]:
    """The engines that gave words, in the order of their first."""
    named = [one["metadata"]["model_info"]["name"] for one in results if one["channel"]["alternatives"][0]["words"]]
    return list(dict.fromkeys(named))


def keep_alive_for(session: ListenSession, seconds: float, every: float = 3.0) -> None:
    """Says so, and nothing else, for so long."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        session.keep_alive()
        time.sleep(min(every, left))


@dataclass(frozen=True)
class EngineCounts:
    """What metrics tell of an engine elsewhere."""

    worked: int
    failed: int
    limited: int
    refused: int
    reachable: bool

    @property
    def unsuccessful(self) -> int:
        return self.failed + self.limited + self.refused


def engine_counts(server, engine: str = "amazon-transcribe") -> EngineCounts:
    values = dict(line.rsplit(" ", 1) for line in server.metrics().splitlines() if line and line[0] != "#")

    def streams(outcome: str) -> int:
        return int(float(values[f'hansard_engine_streams_total{{engine="{engine}",outcome="{outcome}"}}']))

    return EngineCounts(
        **{outcome: streams(outcome) for outcome in ("worked", "failed", "limited", "refused")},
        reachable=float(values[f'hansard_engine_reachable{{engine="{engine}"}}']) == 1,
    )


@dataclass(frozen=True)
class Relayed:
    """A server whose engine is a stand-in."""

    stand_in: TranscribeStandIn
    server: object
    # Seconds of audio in a second, for clients that keep the engine's pace.
    pace: float = 1.0

    def session(self, **parameters: str) -> ListenSession:
        return ListenSession(self.server, INTERIM | parameters)

    def counts(self) -> EngineCounts:
        return engine_counts(self.server)

    def warnings(self) -> list[dict]:
        """Log lines that tell of trouble."""
        return [one for one in self.server.log_records() if one["level"] in ("warning", "error", "critical")]
