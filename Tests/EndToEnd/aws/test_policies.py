"""deploy/iam: what its policies allow is what is needed, and nothing else.

The calls are the product's own, by a user who has exactly the policy: `hansard aws check` tries every call of a node
(acquire, renew, release, reap, put, get, presign, delete and the rest), `hansard aws init` those of an administrator.
ministack judges the policies as they are shipped: resources, conditions, and each write of a transaction. moto, which
checks signatures too, is asked about their actions; it wants one more for a transaction, `dynamodb:TransactWriteItems`,
which AWS does not have and which the shipped policy does not hold, so that `for_moto` adds it.
"""

import subprocess

import pytest
from botocore.exceptions import ClientError

from aws_emulators import AccessKey, Moto
from aws_policies import Resources, actions, policy, user_with, without
from aws_state import make_bucket
from fleet import hansard

only_ministack = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

AS_SHIPPED = Resources("TABLE", "BUCKET", "PREFIX", "ACCOUNT", "REGION")
CALLS_OF_A_NODE = {
    "acquire", "renew", "release", "reap", "put a transcript", "get a transcript", "presign a download",
    "say where a late transcript is", "put a long transcript, and give one up", "delete a transcript",
}
TRANSCRIPTION = "transcribe:StartStreamTranscriptionWebSocket"
STORE_ACTIONS = [one for one in actions(policy("node", AS_SHIPPED)) if one[1] != TRANSCRIPTION]
# While it checks, moto's server fails (500) over any request without an Authorization header, as a presigned one is:
# only ministack can judge that call.
NOT_BY_MOTO = "presign a download"


def reduced(aws, document: dict, statement: int, action: str) -> dict:
    """Without the action; moto knows no resources, so that it must then be allowed on none of them."""
    return without(document, action, None if isinstance(aws, Moto) else statement)


# Nodes


@pytest.fixture
def check(aws, stores):
    """Tries every kind of call of a node with a key; what became of each, and the exit status without what moto cannot do."""

    def run(key: AccessKey) -> dict[str, str]:
        done = hansard("aws", "check", **(stores | aws.environment(key)))
        outcomes = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
        assert CALLS_OF_A_NODE <= set(outcomes), done.stdout + done.stderr
        worked = {outcome == "works" for outcome in outcomes.values()} == {True}
        assert done.returncode == (0 if worked else 1), done.stderr
        if isinstance(aws, Moto):
            assert outcomes.pop(NOT_BY_MOTO) != "works", "moto has learnt it: let it judge"
        return outcomes

    return run


def refused(outcomes: dict[str, str]) -> list[str]:
    return [outcome for outcome in outcomes.values() if outcome != "works"]


def test_a_node_may_do_its_work(aws, check, table, bucket, node_key):
    assert refused(check(node_key)) == []
    if isinstance(aws, Moto):
        aws.enforce(False)
    assert bucket.keys() == [] and bucket.unfinished_uploads() == []
    kept = [item for item in table.everything() if "ttl" not in item]
    assert kept == [], "what it leaves expires"


def test_a_node_may_open_streams_of_transcribe():
    """Neither emulator knows that service. It has no resources."""
    statements = [one for one in policy("node", AS_SHIPPED)["Statement"] if TRANSCRIPTION in one["Action"]]
    assert statements == [
        {"Sid": "Transcription", "Effect": "Allow", "Action": [TRANSCRIPTION], "Resource": "*"}
    ]


@pytest.mark.parametrize(("statement", "action"), STORE_ACTIONS)
def test_a_node_needs_each_action(aws, check, resources, table, bucket, statement, action):
    key = user_with(aws, reduced(aws, policy("node", resources), statement, action))
    said = refused(check(key))
    assert said and any(action in outcome for outcome in said), said


def test_a_node_makes_no_table(aws, stores, bucket, node_key):
    done = hansard("aws", "init", **(stores | aws.environment(node_key)))
    assert done.returncode == 1 and "dynamodb:" in done.stderr, done.stderr
    if isinstance(aws, Moto):
        aws.enforce(False)
    assert aws.client("dynamodb").list_tables()["TableNames"] == []


@only_ministack
def test_a_bucket_of_ones_own_needs_no_prefix(aws, stores, table):
    resources = Resources(table.name, "of-our-own", "", aws.account)
    make_bucket(aws.client("s3"), resources.bucket)
    key = user_with(aws, policy("node", resources))
    stores["HANSARD_TRANSCRIPTS"] = f"s3://{resources.bucket}"
    done = hansard("aws", "check", **(stores | aws.environment(key)))
    assert done.returncode == 0, done.stdout


# Whoever runs `hansard aws init`


@pytest.fixture
def initialize(aws, stores):
    def run(key: AccessKey) -> subprocess.CompletedProcess:
        return hansard("aws", "init", **(stores | aws.environment(key)))

    return run


def make_bare_table(aws, name: str) -> None:
    """The table as it is when an earlier run was interrupted: without index and expiry."""
    keys = ("pk", "sk")
    aws.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"))],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
    )


def make_other_table(
    aws, name: str, *, sort: str = "sk", kind: str = "S", index_key: str = "node_epoch", projection: str = "ALL"
) -> None:
    """A table as somebody else might have made it."""
    keys = {"pk": kind, sort: "S", index_key: "S"}
    aws.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": of} for key, of in keys.items()],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_node",
                "KeySchema": [{"AttributeName": index_key, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": projection},
            }
        ],
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"projection": "KEYS_ONLY"}, "holds KEYS_ONLY of each item; it must hold ALL"),
        ({"index_key": "node"}, "has the keys node (HASH); it must have node_epoch (HASH) alone"),
        ({"kind": "N"}, "the key pk is of type N; it must be of type S"),
        ({"sort": "date"}, "has the keys pk (HASH), date (RANGE); it must have pk (HASH), sk (RANGE)"),
    ],
)
def test_init_finds_no_table_that_cannot_serve(aws, initialize, resources, bucket, other, said):
    make_other_table(aws, resources.table, **other)
    done = initialize(user_with(aws, policy("init", resources), "init"))
    assert done.returncode == 1 and "found" not in done.stdout and "reached" not in done.stderr
    assert f"the table '{resources.table}' cannot be used" in done.stderr and said in done.stderr, done.stderr


@pytest.mark.parametrize("is_begun", [False, True])
def test_init_may_do_its_work(aws, initialize, resources, bucket, is_begun):
    if is_begun:
        make_bare_table(aws, resources.table)
    key = user_with(aws, policy("init", resources), "init")
    for _ in range(2):
        done = initialize(key)
        assert done.returncode == 0, done.stderr
    if isinstance(aws, Moto):
        aws.enforce(False)
    described = aws.client("dynamodb").describe_table(TableName=resources.table)["Table"]
    assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["by_node"]


@pytest.mark.parametrize(("statement", "action"), actions(policy("init", AS_SHIPPED)))
def test_init_needs_each_action(aws, initialize, resources, bucket, statement, action):
    if action == "dynamodb:UpdateTable":
        make_bare_table(aws, resources.table)
    key = user_with(aws, reduced(aws, policy("init", resources), statement, action), "init")
    done = initialize(key)
    assert done.returncode == 1 and action in done.stderr, done.stderr


# What nobody but an administrator may: asked of the policies themselves, since the product never tries

LEASE = {"pk": {"S": "T#1"}, "sk": {"S": "L#1"}}


def writes(table: str) -> list[tuple]:
    put = {"Put": {"TableName": table, "Item": LEASE}}
    return [("dynamodb", "transact_write_items", {"TransactItems": [put]})]


def forbidden_to_all(resources: Resources) -> list[tuple]:
    table, bucket = resources.table, {"Bucket": resources.bucket}
    return [
        ("dynamodb", "scan", {"TableName": table}),
        ("dynamodb", "delete_table", {"TableName": table}),
        ("dynamodb", "get_item", {"TableName": f"{table}-2", "Key": LEASE}),
        ("s3", "put_object", bucket | {"Key": "elsewhere/x", "Body": b""}),
        ("s3", "get_object", bucket | {"Key": "elsewhere/x"}),
        ("s3", "list_objects_v2", bucket | {"Prefix": "elsewhere/"}),
    ]


def forbidden_to_nodes(resources: Resources) -> list[tuple]:
    table = {"TableName": resources.table}
    return [
        ("dynamodb", "describe_table", table),
        ("dynamodb", "update_table", table | {"BillingMode": "PAY_PER_REQUEST"}),
        ("dynamodb", "create_table", {
            **table,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        }),
    ]


def forbidden_to_init(resources: Resources) -> list[tuple]:
    of_a_tenant = {"Bucket": resources.bucket, "Key": f"{resources.prefix}/tenant/2026/01/01/session.json"}
    return [
        *writes(resources.table),
        ("dynamodb", "get_item", {"TableName": resources.table, "Key": LEASE}),
        ("s3", "put_object", of_a_tenant | {"Body": b"{}"}),
        ("s3", "get_object", of_a_tenant),
        ("s3", "delete_object", of_a_tenant),
    ]


@only_ministack
@pytest.mark.parametrize(("name", "more"), [("node", forbidden_to_nodes), ("init", forbidden_to_init)])
def test_nothing_else_is_allowed(aws, resources, table, bucket, name, more):
    key = user_with(aws, policy(name, resources))
    clients = {service: aws.client(service, key) for service in ("dynamodb", "s3")}
    for service, call, arguments in forbidden_to_all(resources) + more(resources):
        with pytest.raises(ClientError) as refusal:
            getattr(clients[service], call)(**arguments)
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, call
