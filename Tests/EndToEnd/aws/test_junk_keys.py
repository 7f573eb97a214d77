"""Whoever comes with keys of nobody costs the database nothing."""

import secrets
import subprocess
import time
import zlib

import pytest

from fleet import metric
from listen import LINEAR16, listen_path
from places import STAND_INS
from postgres_proxy import recording
from processes import wait_until
from strangers import ALPHABET

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

LOOK = b"access_position()"
# What a node says twice a second, whoever comes: up to when its usage is in the ledger.
USAGE = b"usage_is_complete("
# Of other parts of the node, whatever comes.
OTHER_STATEMENTS = 10


def unknown_key() -> str:
    """Well-formed, its checksum too (base62 of the CRC-32 of what precedes it), and nobody's."""
    head = "hsk_live_" + "0" + "".join(secrets.choice(ALPHABET) for _ in range(42))
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return head + digits


def junk(known: str) -> list[str]:
    """A key with another end or middle, too short, too long, of another kind, and no key at all."""
    return [
        known[:-1] + ("0" if known[-1] != "0" else "1"), known[:20] + known[21] + known[20] + known[22:], known[:-1],
        known + "0", known.replace("hsk_live_", "hsk_test_"), known.replace("hsk_live_", "hsa_"), "x", "hsk_live_",
        "hsk_live_" + "0" * 49, "0" * 40, known.swapcase(),
    ]


def come(node, keys: list[str], rate: int, seconds: int) -> tuple[int, float]:
    """Handshakes at a rate, by a program that is cheap; how many there were, and how long they took."""
    began, refused = time.monotonic(), metric(node, REFUSED)
    command = [STAND_INS / "sessions", str(node.port), listen_path(LINEAR16), str(rate), str(seconds), *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    said = {name: int(words[words.index(name) + 1]) for name in ("begun", "refused")}
    assert said["begun"] == said["refused"] == metric(node, REFUSED) - refused, done.stdout
    return said["begun"], time.monotonic() - began


REFUSED = 'hansard_handshakes_refused_total{status="401"}'


@pytest.mark.parametrize("rate, seconds", [(500, 3), pytest.param(1_000, 10, marks=pytest.mark.long)])
def test_keys_of_nobody_cost_the_database_nothing(fleet, table, bucket, postgres_proxy, rate, seconds):
    """Junk not a statement; keys that might have been made a moment ago one look each second, beside the one that the
    node makes anyway."""
    node = fleet.start("one")
    statements: list[bytes] = []
    postgres_proxy.fault(recording(statements), lambda data: True)
    wait_until(lambda: sum(LOOK in statement for statement in statements) > 2, 20, "it looks each second")
    for kind, keys, looks_each_second, part in (
        ("junk", [one for one in junk(node.key) if one != node.key], 1, 1),
        ("unknown", [unknown_key() for _ in range(50)], 2, 2),
    ):
        statements.clear()
        count, took = come(node, keys, rate, seconds // part)
        seen = list(statements)
        looks = sum(LOOK in statement for statement in seen)
        words = sum(USAGE in statement for statement in seen)
        others = len(seen) - looks - words
        print(f"{count} handshakes with {kind} keys in {took:.1f} s: {looks} looks, {words} words on usage, {others} others")
        assert looks <= looks_each_second * (took + 1) + 1
        assert words <= 2 * (took + 1) + 1
        assert others <= OTHER_STATEMENTS, seen
