"""`hansard transcribe`, as a person would use it."""

import json
import os
import subprocess
import time

import pytest
import srt

import speech
from places import BINARY, environment_without_proxies


def transcribe(server, *arguments, connected: bool = True) -> subprocess.CompletedProcess:
    environment = {n: v for n, v in environment_without_proxies().items() if not n.startswith("HANSARD_")}
    target = ["--url", server.url, "--key", server.key] if connected else []
    if not connected:
        environment["HANSARD_STATE_DIR"] = str(server.state_dir)
    return subprocess.run(
        [BINARY, "transcribe", *map(str, arguments), *target],
        env=environment, cwd=server.folder, capture_output=True, text=True, timeout=120,
    )


def test_goforward(speech_server):
    done = transcribe(speech_server, speech.path("goforward.wav"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == speech.transcripts()["goforward.wav"]


def test_it_finds_the_local_server_by_itself(speech_server):
    done = transcribe(speech_server, speech.path("goforward.wav"), "--fast", connected=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == speech.transcripts()["goforward.wav"]


@pytest.mark.parametrize("name", sorted(speech.transcripts()))
def test_every_recording_at_its_own_pace(speech_server, name):
    started = time.monotonic()
    done = transcribe(speech_server, speech.path(name), "--interim")
    assert done.returncode == 0, done.stderr
    # The last message, of a tenth of a second, is sent when it begins.
    spoken = len(speech.samples(name)) / speech.RATE - 0.1
    assert time.monotonic() - started >= spoken, "sent faster than it was spoken"
    lines = done.stdout.splitlines()
    finals = [place for place, line in enumerate(lines) if not line.startswith("…")]
    for earlier, final in zip([-1, *finals], finals):
        assert final - earlier > 1, f"no interim before {lines[final]!r}"
    heard = speech.words(" ".join(lines[place] for place in finals))
    reference = speech.words(speech.transcripts()[name])
    assert speech.word_errors(reference, heard) < len(reference), lines


def test_json(speech_server):
    done = transcribe(speech_server, speech.path("goforward.wav"), "--fast", "--json")
    assert done.returncode == 0, done.stderr
    kinds = {json.loads(line)["type"] for line in done.stdout.splitlines()}
    assert kinds >= {"Results", "Metadata"}


def test_srt(speech_server):
    done = transcribe(speech_server, speech.path("goforward.wav"), "--fast", "--srt")
    assert done.returncode == 0, done.stderr
    (cue,) = srt.parse(done.stdout)
    assert speech.words(cue.content) == speech.words(speech.transcripts()["goforward.wav"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-file.wav"], "no-such-file.wav"),
        ([os.devnull], "WAV"),
        ([speech.path("goforward.wav"), "--language", "xx"], "language"),
    ],
)
def test_failures_are_told(speech_server, arguments, said):
    done = transcribe(speech_server, *arguments)
    assert done.returncode != 0
    assert said in done.stderr, done.stderr


def test_a_wrong_key_is_told(speech_server):
    done = transcribe(speech_server, speech.path("goforward.wav"), "--key", "hsk_live_nonsense", connected=False)
    assert done.returncode != 0
    assert "401" in done.stderr or "key" in done.stderr, done.stderr
