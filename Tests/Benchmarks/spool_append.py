"""What the spool asks of the disk: fdatasyncs per 1,000 records, at the pace of live sessions, beside one for each record; and
how many bytes a record takes."""

import tempfile

from places import PROJECT
from programs import Program

PROGRAM = Program(
    "spool_append",
    ["Hansard", "EventLoops", "Logging", "HashTreeCollections", "DequeModule", "InternalCollectionsUtilities"],
    ["uv"],
    # What is the server's own: all of the spool, and what it needs.
    [
        *sorted((PROJECT / "Sources/HansardServer/Stores").glob("Spool*.swift")),
        PROJECT / "Sources/HansardServer/Stores/FileManager+SyncFolder.swift",
        PROJECT / "Sources/HansardServer/Logging/Logger+Errors.swift",
    ],
)
RATES, SECONDS, COUNT, EACH = (1, 10, 100, 1_000, 10_000), 20, 100_000, 2_000


def said(*arguments: object) -> list[float]:
    with tempfile.TemporaryDirectory(dir=PROJECT / ".build") as folder:
        return [float(number) for number in PROGRAM.said(*arguments, folder).split()]


def live() -> None:
    print(f"Spool append: fdatasyncs per 1,000 records, {SECONDS} s of live sessions (usage each 10 s, a final each 4 s)")
    print(f"{'':<40} {'records/s':>10} {'fdatasyncs/s':>13} {'per 1,000':>10} {'bytes each':>11}")
    for what, name in (("live", "sessions"), ("ends", "sessions of five minutes")):
        for sessions in RATES if what == "live" else (1_000,):
            records, syncs, size = said(what, sessions, SECONDS)
            print(
                f"{sessions:>8,} {name:<31} {records / SECONDS:10,.1f} {syncs / SECONDS:13.1f} "
                f"{1_000 * syncs / records:10,.1f} {size / records:11,.0f}"
            )


def fast() -> None:
    for what, count, name in (("once", COUNT, "as fast as they are taken"), ("each", EACH, "one fdatasync for each")):
        records, syncs, size, seconds = said(what, count)
        print(
            f"{name:<40} {records / seconds:10,.0f} {syncs / seconds:13.1f} {1_000 * syncs / records:10,.1f} {size / records:11,.0f}"
        )


def sizes() -> None:
    names = ("usage record", "final of eight words", "beginning", "end after five minutes", "settled")
    print("bytes: " + ", ".join(f"{name} {size:,.0f}" for name, size in zip(names, said("sizes"))))


if __name__ == "__main__":
    PROGRAM.compile()
    live()
    fast()
    sizes()
