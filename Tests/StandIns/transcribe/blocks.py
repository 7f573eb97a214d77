"""Test audio whose words cannot be guessed: each 100 ms say which they are, and are heard only if they come whole.

A block is a mark of eight samples, its index in six hexadecimal digits of a sample each, and a filling that follows
from the index. It is recognised wherever it begins, but every sample of it must be right: a block of which a part was
lost, repeated or put elsewhere gives no word. All values are ones that 8-bit mu-law keeps exactly, and none is zero.

A block's index is its place on the time line, so that `b000123` is spoken from 12.3 s to 12.4 s.
"""

import audioop
import hashlib
from collections.abc import Iterator
from functools import lru_cache

from .hearing import BYTES_PER_SAMPLE, PIECES_BETWEEN_PARTIALS, PIECES_PER_SECOND, Heard, Word

BLOCK_SECONDS = 1 / PIECES_PER_SECOND
# Zeros for so long end an utterance.
PAUSE_SECONDS = 0.3
DIGITS = 6
BLOCKS_MAX = 16**DIGITS

# Sixteen mu-law codes for the digits and the filling, of middling loudness and both signs; two more for the mark.
_CODES = bytes(range(0x90, 0xA0, 2)) + bytes(range(0x10, 0x20, 2))
_FILLING = bytes(_CODES[byte % 16] for byte in range(256))
_HIGH, _LOW = 0x81, 0x01


def _samples(codes: bytes) -> bytes:
    return audioop.ulaw2lin(codes, BYTES_PER_SAMPLE)


MARK = _samples(bytes([_HIGH, _LOW, _HIGH, _HIGH, _LOW, _LOW, _LOW, _HIGH]))
_DIGIT_OF = {_samples(bytes([code])): digit for digit, code in enumerate(_CODES)}


@lru_cache(maxsize=1024)
def block(index: int, rate: int) -> bytes:
    """100 ms of 16-bit PCM."""
    if not 0 <= index < BLOCKS_MAX:
        raise ValueError(f"block {index} is not between 0 and {BLOCKS_MAX - 1}")
    digits = bytes(_CODES[(index >> 4 * place) & 15] for place in reversed(range(DIGITS)))
    length = _block_bytes(rate) // BYTES_PER_SAMPLE - len(MARK) // BYTES_PER_SAMPLE - DIGITS
    filling = hashlib.shake_128(f"block {index} at {rate}".encode()).digest(length).translate(_FILLING)
    return MARK + _samples(digits + filling)


def word(index: int) -> str:
    return f"b{index:06d}"


def indexed_audio(
    seconds: float, sample_rate: int = 16_000, start: int = 0, speech: float | None = None, pause: float = 1.0
) -> Iterator[bytes]:
    """Blocks from index `start` on, 100 ms at a time. With `speech`, after so many seconds come `pause` of zeros."""
    for index, spoken in _time_line(seconds, start, speech, pause):
        yield block(index, sample_rate) if spoken else bytes(_block_bytes(sample_rate))


def indexed_words(seconds: float, start: int = 0, speech: float | None = None, pause: float = 1.0) -> list[str]:
    """The words of the audio that `indexed_audio` makes with the same arguments."""
    return [word(index) for index, spoken in _time_line(seconds, start, speech, pause) if spoken]


def _time_line(seconds: float, start: int, speech: float | None, pause: float) -> Iterator[tuple[int, bool]]:
    spoken = round((seconds if speech is None else speech) * PIECES_PER_SECOND)
    silent = 0 if speech is None else round(pause * PIECES_PER_SECOND)
    for place in range(round(seconds * PIECES_PER_SECOND)):
        yield start + place, place % (spoken + silent) < spoken


def _block_bytes(rate: int) -> int:
    if rate % PIECES_PER_SECOND:
        raise ValueError(f"a tenth of a second has no whole number of samples at {rate} Hz")
    return rate // PIECES_PER_SECOND * BYTES_PER_SAMPLE


class BlockRecogniser:
    """Finds whole blocks in one channel; a final after 300 ms of zeros, a partial every 500 ms until then."""

    def __init__(self, rate: int):
        self._bytes_per_second = rate * BYTES_PER_SAMPLE
        self._rate = rate
        self._block_bytes = _block_bytes(rate)
        self._pending = bytearray()
        # Where `_pending` begins in the stream, and how many zeros came right before it; in bytes.
        self._position = 0
        self._zeros = 0
        self._words: list[Word] = []
        self._segment = 0
        self._pieces = 0
        self._told = 0

    def advance(self, piece: bytes) -> list[Heard]:
        self._pending += piece
        self._pieces += 1
        heard = self._scan()
        if self._pieces % PIECES_BETWEEN_PARTIALS == 0 and len(self._words) > self._told:
            self._told = len(self._words)
            heard.append(Heard(self._segment, False, tuple(self._words)))
        return heard

    def finish(self, rest: bytes) -> list[Heard]:
        self._pending += rest
        heard = self._scan()
        heard += self._final()
        return heard

    def abandon(self) -> None:
        """It holds nothing but memory."""

    def _scan(self) -> list[Heard]:
        heard: list[Heard] = []
        while (at := self._mark()) >= 0:
            heard += self._pass(at)
            if len(self._pending) < self._block_bytes:
                return heard
            index = self._index()
            if index is None:
                # A block that is not whole may hold the beginning of one that is.
                heard += self._pass(len(MARK))
                continue
            start = self._position / self._bytes_per_second
            self._words.append(Word(word(index), start, start + BLOCK_SECONDS, _confidence(index)))
            self._zeros = 0
            self._drop(self._block_bytes)
        # The last bytes may be the beginning of a mark.
        return heard + self._pass(max(0, len(self._pending) - len(MARK) + BYTES_PER_SAMPLE))

    def _mark(self) -> int:
        at = self._pending.find(MARK)
        while at % BYTES_PER_SAMPLE and at >= 0:
            at = self._pending.find(MARK, at + 1)
        return at

    def _index(self) -> int | None:
        """The index of the whole block that `_pending` begins with, if it does."""
        index = 0
        for place in range(DIGITS):
            at = len(MARK) + place * BYTES_PER_SAMPLE
            digit = _DIGIT_OF.get(bytes(self._pending[at : at + BYTES_PER_SAMPLE]))
            if digit is None:
                return None
            index = index << 4 | digit
        return index if self._pending.startswith(block(index, self._rate)) else None

    def _pass(self, count: int) -> list[Heard]:
        """Leaves behind bytes that are no block, and notes the pauses in them."""
        skipped = bytes(self._pending[:count])
        self._drop(count)
        leading = len(skipped) - len(skipped.lstrip(b"\0"))
        self._zeros += leading
        paused = self._zeros >= PAUSE_SECONDS * self._bytes_per_second
        if leading < len(skipped):
            self._zeros = len(skipped) - len(skipped.rstrip(b"\0"))
        return self._final() if paused else []

    def _drop(self, count: int) -> None:
        del self._pending[:count]
        self._position += count

    def _final(self) -> list[Heard]:
        if not self._words:
            return []
        final = Heard(self._segment, True, tuple(self._words))
        self._segment += 1
        self._words, self._told = [], 0
        return [final]


def _confidence(index: int) -> float:
    """Different from word to word, so that a mean over the wrong words shows."""
    return round(0.9 + index % 100 / 1000, 3)
