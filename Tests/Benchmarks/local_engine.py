"""What the local engine costs and how well it hears, against `pocketsphinx_continuous -infile` with its defaults.

CPU is counted over everything that the server runs. The command's start, in which it loads its models, is measured
with a moment of silence and taken off, since the server loads its own before anybody speaks.
"""

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import speech
from listen import ListenSession
from places import RELEASE_BINARY
from processes import tree_cpu_seconds
from server import Server

ROUNDS = 3


def command(wav: Path) -> tuple[str, float]:
    """The command's text, and its CPU seconds."""
    with tempfile.TemporaryFile() as output:
        started = subprocess.Popen(
            ["pocketsphinx_continuous", "-infile", wav, "-logfn", os.devnull],
            stdout=output, stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        assert started.returncode == 0, wav
        output.seek(0)
        return output.read().decode(), used.ru_utime + used.ru_stime


def hansard(server: Server, clip) -> tuple[str, float]:
    """The server's text, and the CPU seconds of all its processes."""
    before = tree_cpu_seconds(server.pid)
    with ListenSession(server) as session:
        session.send(clip.tobytes())
        session.finish(seconds=300)
        return session.text(), tree_cpu_seconds(server.pid) - before


def compare(server: Server, name: str, clips: dict, folder: Path, start_seconds: float) -> None:
    seconds = sum(len(clip) for clip in clips.values()) / speech.RATE
    words = sum(len(speech.words(speech.transcripts()[file])) for file in clips)
    errors, cpu = {"command": 0, "hansard": 0}, {"command": [], "hansard": []}
    for round_number in range(ROUNDS):
        spent = {"command": 0.0, "hansard": 0.0}
        for file, clip in clips.items():
            wav = speech.write_wav(folder / file, clip)
            for who, (text, used) in (("command", command(wav)), ("hansard", hansard(server, clip))):
                spent[who] += used - (start_seconds if who == "command" else 0)
                if round_number == 0:
                    errors[who] += speech.word_errors(speech.words(speech.transcripts()[file]), speech.words(text))
        for who, value in spent.items():
            cpu[who].append(value / seconds)
    middle = {who: statistics.median(values) for who, values in cpu.items()}
    print(
        f"{name:<12} {seconds:7.1f} {middle['command']:9.3f} {middle['hansard']:9.3f} "
        f"{middle['hansard'] / middle['command']:7.2f} "
        f"{100 * errors['command'] / words:11.1f} {100 * errors['hansard'] / words:11.1f}"
    )


def main() -> None:
    clean = {name: speech.samples(name) for name in sorted(speech.transcripts())}
    noisy = {name: speech.with_white_noise(clip, 20) for name, clip in clean.items()}
    with tempfile.TemporaryDirectory() as folder, Server(RELEASE_BINARY, HANSARD_ENGINE="pocketsphinx") as server:
        moment = speech.write_wav(Path(folder) / "moment.wav", speech.silence(0.1))
        start_seconds = statistics.median(command(moment)[1] for _ in range(ROUNDS))
        print(f"Local engine: CPU seconds per second of audio, median of {ROUNDS}; word error rate in %")
        print(f"(the command's start of {start_seconds:.2f} s CPU is taken off; wanted: ratio at most 0.50)")
        print(f"{'audio':<12} {'seconds':>7} {'command':>9} {'hansard':>9} {'ratio':>7} {'command WER':>11} {'hansard WER':>11}")
        compare(server, "clean", clean, Path(folder), start_seconds)
        compare(server, "20 dB noise", noisy, Path(folder), start_seconds)
        print()


if __name__ == "__main__":
    main()
