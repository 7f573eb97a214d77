"""Servers that many tests share; each is started when the first test asks for it."""

import pytest

from cluster import running_cluster
from places import ASYNCAPI, BINARY
from server import Server


def pytest_sessionstart(session):
    for needed in (BINARY, ASYNCAPI):
        if not needed.exists():
            raise pytest.UsageError(f"{needed} is missing")


SECRET = "a-secret-that-only-this-test-run-knows-0123456789"


@pytest.fixture(scope="session")
def speech_server():
    """Listens for real, with room for as many sessions as any one test opens."""
    with Server(HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="4", HANSARD_SECRET=SECRET) as server:
        yield server


@pytest.fixture(scope="session")
def synthetic_server():
    """Answers without listening: for what concerns the wire alone."""
    with Server(HANSARD_ENGINE="synthetic", HANSARD_SECRET=SECRET) as server:
        yield server


@pytest.fixture
def own_server():
    """Makes servers that a test may stop, kill or starve; all are cleaned up after it."""
    servers: list[Server] = []

    def make(**settings: str) -> Server:
        server = Server(**{"HANSARD_ENGINE": "synthetic", **settings})
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.clean_up()


@pytest.fixture
def cluster():
    """A Postgres of the test's own, to be given to a server by its URL and taken away from it."""
    with running_cluster() as cluster:
        yield cluster
