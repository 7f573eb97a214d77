"""Sessions through a real SDK, each in the virtual environment of its version."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from places import PROJECT, environment_without_proxies, sdk_python

VERSIONS = ["4.8.1", "5.3.0", "6.0.1", "7.17.0"]
DRIVERS = PROJECT / "Tests" / "Clients" / "drivers"
DRIVER = {"4": "sdk4.py", "5": "sdk5.py", "6": "sdk6.py", "7": "sdk6.py"}
RUN_SECONDS = 180


@dataclass(frozen=True)
class Transcription:
    """All that a driver saw."""

    version: str
    events: list[dict]
    errors: str

    def of(self, event: str) -> list[dict]:
        return [line for line in self.events if line["event"] == event]

    def raw(self) -> list[dict]:
        """The messages as they came over the wire."""
        return [line["message"] for line in self.of("raw")]

    def parsed(self, kind: str) -> list[dict]:
        """The messages of one type as the SDK gave them to its user."""
        return [line["value"] for line in self.of("message") if line["value"].get("type") == kind]

    def finals(self) -> list[dict]:
        return [result for result in self.parsed("Results") if result["is_final"]]

    def close_code(self) -> int:
        return self.of("close")[-1]["code"]


def start(version: str, server, wav: Path, options: dict, steps: list, pace: float = 1.0, access_token: str | None = None):
    """Starts a driver; it prints its events to a pipe."""
    interpreter = sdk_python(version)
    assert interpreter.exists(), f"{interpreter} is missing: `make sdks` makes it"
    secret = ["--access-token", access_token] if access_token else ["--key", server.key]
    command = [interpreter, DRIVERS / DRIVER[version[0]], "--url", server.url, *secret, "--wav", wav]
    command += ["--pace", str(pace), "--options", json.dumps(options), "--steps", json.dumps(steps)]
    return subprocess.Popen(
        command, env=environment_without_proxies(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(version: str, driver: subprocess.Popen) -> Transcription:
    try:
        output, errors = driver.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        driver.kill()
        output, errors = driver.communicate()
        errors += f"\nstill running after {RUN_SECONDS} s"
    return Transcription(version, [json.loads(line) for line in output.splitlines()], errors)


def transcribe(version: str, server, wav: Path, options: dict, steps: list, **named) -> Transcription:
    return result(version, start(version, server, wav, options, steps, **named))
