"""Recorded speech, what was said in it, and clips made of it."""

import array
import math
import random
import re
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from places import AUDIO

RATE = 16_000
FRAME = RATE // 100


@cache
def transcripts() -> dict[str, str]:
    lines = (AUDIO / "transcripts.tsv").read_text().splitlines()
    return dict(line.split("\t") for line in lines)


def path(name: str) -> Path:
    return AUDIO / name


@cache
def samples(name: str) -> array.array:
    """A recording's samples: 16 kHz, mono, 16 bits, as all of them are."""
    with wave.open(str(AUDIO / name)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (RATE, 1, 2), name
        return array.array("h", recording.readframes(recording.getnframes()))


def pcm(name: str) -> bytes:
    return samples(name).tobytes()


def silence(seconds: float) -> array.array:
    return array.array("h", bytes(2 * round(seconds * RATE)))


def joined(*pieces: str | float) -> array.array:
    """One clip of recordings, by name, and digital silence, in seconds."""
    clip = array.array("h")
    for piece in pieces:
        clip.extend(samples(piece) if isinstance(piece, str) else silence(piece))
    return clip


def with_white_noise(clean: array.array, decibels: float) -> array.array:
    """The same with white noise added, so many decibels below the recording; always the same noise."""
    power = sum(value * value for value in clean) / len(clean)
    deviation = math.sqrt(power / 10 ** (decibels / 10))
    noise = random.Random(20)
    return array.array("h", (_clamp(value + noise.gauss(0, deviation)) for value in clean))


def write_wav(file: Path, clip: array.array, rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(file), "wb") as recording:
        recording.setparams((channels, 2, rate, 0, "NONE", "not compressed"))
        recording.writeframes(clip.tobytes())
    return file


def tone(seconds: float, rate: int, channels: int = 1) -> array.array:
    """A quiet 440 Hz tone, for what needs audio of an exact length in another format."""
    frames = round(seconds * rate)
    wave_form = (round(2000 * math.sin(2 * math.pi * 440 * index / rate)) for index in range(frames))
    return array.array("h", (value for value in wave_form for _ in range(channels)))


@dataclass(frozen=True)
class Stretch:
    """Where somebody speaks, in seconds."""

    start: float
    end: float


def stretches(clip: array.array, shortest_pause: float) -> list[Stretch]:
    """Speech by its energy alone, as a reference that no recogniser has a part in."""
    loudness = [
        math.sqrt(sum(value * value for value in clip[at : at + FRAME]) / FRAME)
        for at in range(0, len(clip) - FRAME + 1, FRAME)
    ]
    threshold = 0.1 * sorted(loudness)[int(len(loudness) * 0.95)]
    found: list[Stretch] = []
    for index, value in enumerate(loudness):
        # A lone loud frame is a click or the edge of a cut; rooms are some 20 dB below voices.
        neighbours = loudness[max(0, index - 1) : index] + loudness[index + 1 : index + 2]
        if value <= threshold or max(neighbours, default=0) <= threshold:
            continue
        start, end = index / 100, (index + 1) / 100
        if found and start - found[-1].end < shortest_pause:
            found[-1] = Stretch(found[-1].start, end)
        else:
            found.append(Stretch(start, end))
    return found


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]+", " ", text.lower()).split()


def word_errors(reference: list[str], heard: list[str]) -> int:
    """The least number of words to insert, delete or replace (Levenshtein distance over words)."""
    row = list(range(len(heard) + 1))
    for index, expected in enumerate(reference, 1):
        previous, row[0] = row[0], index
        for column, word in enumerate(heard, 1):
            substituted = previous + (word != expected)
            previous = row[column]
            row[column] = min(substituted, row[column] + 1, row[column - 1] + 1)
    return row[-1]


def _clamp(value: float) -> int:
    return max(-32768, min(32767, round(value)))
