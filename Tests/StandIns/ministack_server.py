"""ministack for tests that are not in Python: prints its address, and ends when its standard input does.

PYTHONPATH must lead to Tests/Support."""

import sys

from aws_emulators import Ministack

if __name__ == "__main__":
    with Ministack() as server:
        print(server.url, server.root.id, server.root.secret, flush=True)
        sys.stdin.read()
