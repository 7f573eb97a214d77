"""What recognisers have in common: audio comes to them in pieces of 100 ms, however it was sent."""

from dataclasses import dataclass
from typing import Protocol

PIECES_PER_SECOND = 10
PIECES_BETWEEN_PARTIALS = 5
BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class Word:
    """Times are seconds since the stream's start. Partial results know no confidence."""

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True)
class Heard:
    """What has been understood of a channel's n-th segment, until now or for good."""

    segment: int
    is_final: bool
    words: tuple[Word, ...]
    channel: int = 0


class Recogniser(Protocol):
    """One channel of one stream."""

    def advance(self, piece: bytes) -> list[Heard]:
        """Takes the next 100 ms of one channel."""

    def finish(self, rest: bytes) -> list[Heard]:
        """Takes what is left, less than 100 ms; nothing comes after it."""

    def abandon(self) -> None:
        """Frees what it holds; the stream has ended without being finished."""


class Ears:
    """Parts a stream's audio into channels and pieces, so that results depend on the audio alone."""

    def __init__(self, recognisers: list[Recogniser], rate: int):
        self._recognisers = recognisers
        self._frame_bytes = BYTES_PER_SAMPLE * len(recognisers)
        self._piece_bytes = rate // PIECES_PER_SECOND * self._frame_bytes
        self._pending = bytearray()

    def listen(self, audio: bytes) -> list[Heard]:
        self._pending += audio
        heard: list[Heard] = []
        while len(self._pending) >= self._piece_bytes:
            piece = bytes(self._pending[: self._piece_bytes])
            del self._pending[: self._piece_bytes]
            heard += self._each(piece, lambda recogniser, part: recogniser.advance(part))
        return heard

    def finish(self) -> list[Heard]:
        whole = len(self._pending) // self._frame_bytes * self._frame_bytes
        return self._each(bytes(self._pending[:whole]), lambda recogniser, part: recogniser.finish(part))

    def abandon(self) -> None:
        for recogniser in self._recognisers:
            recogniser.abandon()

    def _each(self, audio: bytes, step) -> list[Heard]:
        heard = []
        for channel, recogniser in enumerate(self._recognisers):
            part = channel_of(audio, channel, len(self._recognisers))
            for one in step(recogniser, part):
                heard.append(Heard(one.segment, one.is_final, one.words, channel))
        return heard


def channel_of(audio: bytes, channel: int, channels: int) -> bytes:
    """One channel of interleaved 16-bit samples."""
    return audio if channels == 1 else memoryview(audio).cast("h")[channel::channels].tobytes()


def interleaved(*channels: bytes) -> bytes:
    """The samples of channels of the same length, one of each in turn."""
    frames = bytearray(sum(map(len, channels)))
    samples = memoryview(frames).cast("h")
    for index, channel in enumerate(channels):
        samples[index :: len(channels)] = memoryview(channel).cast("h")
    return bytes(frames)
