"""Time that may run faster than the wall's, so that hours of audio are streamed in minutes."""

import time


class Clock:
    """Seconds since it was made, `speed` times as many as have passed on the wall."""

    def __init__(self, speed: float = 1.0):
        self.speed = speed
        self._started = time.monotonic()

    def now(self) -> float:
        return (time.monotonic() - self._started) * self.speed

    def on_the_wall(self, seconds: float) -> float:
        """How long to really wait for so many seconds of this clock to pass."""
        return max(0.0, seconds) / self.speed
