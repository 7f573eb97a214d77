"""AWS for the tests of this folder: emulators that tests share and that forget everything between them."""

import subprocess
from contextlib import ExitStack

import pytest

from aws_emulators import AccessKey, Ministack, Moto
from aws_policies import Resources, policy, user_with
from aws_proxy import FaultyAWS
from aws_state import Bucket, Table, make_bucket, make_table
from cluster import Cluster
from fleet import Fleet, Founding, State
from postgres_proxy import FaultyPostgres
from server import make_state_dir

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
def connections() -> str:
    """Which store counts; tests of both are parametrised with this name."""
    return "dynamodb"


@pytest.fixture
def stores(resources, connections) -> dict[str, str]:
    """What chooses the stores: nothing else differs from a node without AWS."""
    return {
        "HANSARD_CONNECTIONS": connections,
        "HANSARD_DYNAMODB_TABLE": resources.table,
        "HANSARD_TRANSCRIPTS": f"s3://{resources.bucket}/{resources.prefix}",
    }


@pytest.fixture
def dynamodb_proxy(aws, faulty):
    return faulty(aws)


@pytest.fixture
def s3_proxy(aws, faulty):
    return faulty(aws)


@pytest.fixture(scope="session")
def founding():
    folder = make_state_dir()
    cluster = Cluster(folder / "cluster")
    cluster.start()
    yield Founding(cluster)
    cluster.stop()
    subprocess.run(["rm", "-rf", "--", folder], check=True)


@pytest.fixture
def fleet(aws, founding, stores, node_key, dynamodb_proxy, s3_proxy):
    """A fleet whose calls pass proxies, without faults so far. The table is for the test to make, or not."""
    endpoints = {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb_proxy.url, "AWS_ENDPOINT_URL_S3": s3_proxy.url}
    with Fleet(founding, **(stores | aws.environment(node_key) | endpoints)) as fleet:
        yield fleet


@pytest.fixture
def state(connections, fleet, table) -> State:
    """What the store that counts holds, read by something other than the product."""
    return table if connections == "dynamodb" else fleet.database


@pytest.fixture
def postgres_proxy(fleet, founding):
    """The way to Postgres of nodes that are started afterwards, without faults so far."""
    with FaultyPostgres(founding.cluster.folder) as proxy:
        fleet.connect_through(proxy.port)
        yield proxy
