"""Where things are in a working copy, and what stands beside it."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared"
AUDIO = SHARED / "audio"
ASYNCAPI = SHARED / "vectors" / "deepgram-asyncapi.yml"
BINARY = Path(os.environ.get("HANSARD_BINARY", PROJECT / ".build" / "debug" / "hansard"))
RELEASE_BINARY = Path(os.environ.get("HANSARD_BINARY", PROJECT / ".build" / "release" / "hansard"))
STAND_INS = PROJECT / ".build" / "stand-ins"


def sdk_python(version: str) -> Path:
    """The interpreter of the virtual environment that holds this version of deepgram-sdk."""
    return PROJECT / ".venvs" / f"deepgram-sdk-{version}" / "bin" / "python"


def environment_without_proxies() -> dict[str, str]:
    """This process's environment, but nothing that would send a loopback connection through a proxy."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
