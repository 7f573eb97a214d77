"""AWS for the tests of this folder: emulators that tests share and that forget everything between them."""

from contextlib import ExitStack

import pytest

from aws_emulators import AccessKey, Ministack, Moto
from aws_policies import Resources, policy, user_with
from aws_proxy import FaultyAWS
from aws_state import Bucket, Table, make_bucket, make_table
from fleet import Fleet

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


# Nodes


@pytest.fixture
def node_key(aws, resources) -> AccessKey:
    return user_with(aws, policy("node", resources))


@pytest.fixture
def init_key(aws, resources) -> AccessKey:
    return user_with(aws, policy("init", resources), "init")


@pytest.fixture
def stores(resources) -> dict[str, str]:
    """What chooses the stores: nothing else differs from a node without AWS."""
    return {
        "HANSARD_CONNECTIONS": "dynamodb",
        "HANSARD_DYNAMODB_TABLE": resources.table,
        "HANSARD_TRANSCRIPTS": f"s3://{resources.bucket}/{resources.prefix}",
    }


@pytest.fixture
def dynamodb_proxy(aws, faulty):
    return faulty(aws)


@pytest.fixture
def s3_proxy(aws, faulty):
    return faulty(aws)


@pytest.fixture
def fleet(aws, cluster, stores, node_key, dynamodb_proxy, s3_proxy):
    """A fleet whose calls pass proxies, without faults so far. The table is for the test to make, or not."""
    endpoints = {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb_proxy.url, "AWS_ENDPOINT_URL_S3": s3_proxy.url}
    with Fleet(cluster, **(stores | aws.environment(node_key) | endpoints)) as fleet:
        yield fleet
