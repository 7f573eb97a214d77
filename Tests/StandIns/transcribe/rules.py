"""What the service asks of the audio, and what a stream's audio was like."""

from collections import Counter

from .errors import BadRequest, ServiceException
from .hearing import BYTES_PER_SAMPLE
from .parameters import StreamParameters
from .settings import Settings

# Silence is looked for in slices of this length.
SLICES_PER_SECOND = 100


class AudioMeter:
    """Measures a stream's audio against the clock, and says when it breaks a rule. No I/O, no waiting."""

    def __init__(self, parameters: StreamParameters, settings: Settings):
        self._parameters = parameters
        self._settings = settings
        self._bytes = 0
        self._silent_bytes = 0
        self._slice = bytes(
            parameters.rate // SLICES_PER_SECOND * BYTES_PER_SAMPLE * parameters.channels
        )
        self.chunk_bytes: Counter[int] = Counter()
        self.max_lead = 0.0
        # The fullest that a bucket became which audio fills and real time empties: credit is not saved up.
        self.max_burst = 0.0
        self._burst = 0.0
        self.last_at = 0.0

    @property
    def seconds(self) -> float:
        return self._bytes / self._parameters.bytes_per_second

    @property
    def silence_seconds(self) -> float:
        return self._silent_bytes / self._parameters.bytes_per_second

    def audio_received(self, audio: bytes, now: float) -> None:
        """Counts a chunk; then raises if the service would not take it. `now` is the clock since the stream's start."""
        seconds = len(audio) / self._parameters.bytes_per_second
        self._bytes += len(audio)
        self._silent_bytes += self._silent(audio)
        self.chunk_bytes[len(audio)] += 1
        self.max_lead = max(self.max_lead, self.seconds - now)
        self._burst = max(0.0, self._burst - (now - self.last_at)) + seconds
        self.max_burst = max(self.max_burst, self._burst)
        self.last_at = now
        self._check(audio, seconds, now)

    def idle_left(self, now: float) -> float:
        """How long the service goes on waiting for audio."""
        return self.last_at + self._settings.idle_seconds - now

    def waited_until(self, now: float) -> None:
        """Time in which nothing was read does not count as time without audio."""
        self.last_at = now

    def _check(self, audio: bytes, seconds: float, now: float) -> None:
        frame = BYTES_PER_SAMPLE * self._parameters.channels
        if len(audio) % frame:
            raise BadRequest(f"{len(audio)} bytes are not whole samples of {frame} bytes")
        if seconds > self._settings.max_chunk_seconds:
            raise BadRequest(f"A chunk has {seconds:g} s of audio; {self._settings.max_chunk_seconds:g} s are allowed")
        if self.seconds > self._settings.max_stream_seconds:
            raise ServiceException("LimitExceededException")
        allowed = self._settings.lead_seconds
        if allowed is not None and self.seconds - self._settings.pace_rate * now > allowed:
            lead = self.seconds - self._settings.pace_rate * now
            raise BadRequest(f"Audio must come in real time: it is {lead:.2f} s ahead, {allowed:g} s are allowed")

    def _silent(self, audio: bytes) -> int:
        if not audio.strip(b"\0"):
            return len(audio)
        size = len(self._slice)
        if self._slice not in audio:
            return 0
        return size * sum(audio[at : at + size] == self._slice for at in range(0, len(audio), size))
