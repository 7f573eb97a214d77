"""Servers that many tests share; each is started when the first test asks for it."""

import os

# amazon-transcribe needs awscrt, with which botocore would sign in C, where no test can set the clock. Before botocore's import.
os.environ.setdefault("BOTO_DISABLE_CRT", "true")

import pytest

from cluster import running_cluster
from engines import LOCAL, SYNTHETIC, TRANSCRIBE, EngineServers
from places import ASYNCAPI, BINARY
from server import Server


def pytest_sessionstart(session):
    for needed in (BINARY, ASYNCAPI):
        if not needed.exists():
            raise pytest.UsageError(f"{needed} is missing")


SECRET = "a-secret-that-only-this-test-run-knows-0123456789"


@pytest.fixture(scope="session")
def engine_servers():
    servers = EngineServers(HANSARD_SECRET=SECRET)
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def speech_server(request, engine_servers):
    """Listens for real; with each engine that does, in modules that say `EVERY_ENGINE = True`."""
    return engine_servers[getattr(request, "param", LOCAL)]


@pytest.fixture(scope="session")
def synthetic_server(request, engine_servers):
    """Answers without listening: for what concerns the wire alone. Also with each engine, in such modules."""
    return engine_servers[getattr(request, "param", SYNTHETIC)]


def pytest_generate_tests(metafunc):
    if not getattr(metafunc.module, "EVERY_ENGINE", False):
        return
    for name, engine in (("speech_server", LOCAL), ("synthetic_server", SYNTHETIC)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, [engine, TRANSCRIBE], indirect=True, scope="session")


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
