"""Looks for secrets where none may be, also in part, in hexadecimal and in base64."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import requests

from operators import Operator

# What the API hands out: keys, admin tokens, access tokens, and the signatures of download addresses.
SECRETS = re.compile(r"hsk_(?:live|test)_[0-9A-Za-z]{49}|hsa_[0-9A-Za-z]{49}|hst_[0-9A-Za-z_.~-]+|X-Amz-Signature=[0-9a-f]{64}")
# Lists show a secret's first four characters and its last four. So many in a row between them are a leak.
PIECE = 12
SHOWN = 4


@dataclass(frozen=True)
class Witness(Operator):
    """An operator that remembers every secret it has ever been told."""

    secrets: set[str] = field(default_factory=set)

    def call(self, method: str, path: str, body=None, **headers: str) -> requests.Response:
        answer = super().call(method, path, body, **headers)
        self.secrets.update(SECRETS.findall(answer.text))
        return answer


def pieces(secret: str) -> list[bytes]:
    """Of the random part alone, which begins after the last `_` or `=`."""
    random_part = re.split("[_=]", secret, maxsplit=2 if secret.startswith("hsk_") else 1)[-1].encode()
    middle = random_part[SHOWN:-SHOWN]
    assert len(middle) >= 2 * PIECE, "not a secret"
    return [middle[offset : offset + PIECE] for offset in range(0, len(middle) - PIECE + 1, PIECE)]


def forms(piece: bytes) -> set[bytes]:
    """As it is, in hexadecimal, and in base64 wherever in a longer text it is."""
    found = {piece, piece.hex().encode(), piece.hex().upper().encode()}
    for before in range(3):
        # The characters that depend on what stands before and after are left out.
        text = base64.b64encode(bytes(before) + piece)[(0, 2, 3)[before] :].rstrip(b"=")
        text = text if (before + len(piece)) % 3 == 0 else text[:-1]
        found |= {text, text.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def needles(secrets: Iterable[str]) -> dict[bytes, str]:
    """What to look for, and whose it is: the secret's public beginning."""
    return {form: secret[:13] for secret in secrets for piece in pieces(secret) for form in forms(piece)}


def leaks(haystack: bytes, sought: dict[bytes, str]) -> set[str]:
    """Whose secrets, or parts of them, are in it."""
    return {whose for form, whose in sought.items() if form in haystack}


def digest(secret: str) -> str:
    """What is stored of a secret, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
