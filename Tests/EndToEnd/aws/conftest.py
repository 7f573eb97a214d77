"""AWS for the tests of this folder: emulators that tests share and that forget everything between them."""

from contextlib import ExitStack

import pytest

from aws_emulators import Ministack, Moto
from aws_policies import Resources
from aws_proxy import FaultyAWS
from aws_state import Bucket, Table, make_bucket, make_table

TABLE, BUCKET, PREFIX = "hansard-state", "hansard-transcripts", "calls"


@pytest.fixture(scope="session")
def running_ministack():
    with Ministack() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def running_moto():
    with Moto() as emulator:
        yield emulator


@pytest.fixture
def ministack(running_ministack) -> Ministack:
    """It refuses what AWS refuses, and knows nothing of other tests."""
    running_ministack.reset()
    return running_ministack


@pytest.fixture
def moto(running_moto) -> Moto:
    """It refuses nothing until it is told to enforce, and knows nothing of other tests."""
    running_moto.reset()
    return running_moto


@pytest.fixture(params=["ministack", "moto"])
def aws(request):
    """Both emulators, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def resources(aws) -> Resources:
    return Resources(TABLE, BUCKET, PREFIX, aws.account)


@pytest.fixture
def table(aws) -> Table:
    return make_table(aws.client("dynamodb"), TABLE)


@pytest.fixture
def bucket(aws) -> Bucket:
    return make_bucket(aws.client("s3"), BUCKET, PREFIX)


@pytest.fixture
def faulty():
    """Makes proxies that let faults befall calls to an emulator; all are ended after the test."""
    with ExitStack() as proxies:
        yield lambda emulator: proxies.enter_context(FaultyAWS(emulator.url))
