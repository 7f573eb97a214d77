"""Sessions whose state is in DynamoDB and whose transcripts are in S3, read back by boto3.

The product is the user `node` of ministack, which has the policy of deploy/iam/node.json and nothing else.
"""

import base64
import json

import pytest

import sdk
import speech
from aws_emulators import Ministack, aws_environment
from aws_policies import policy, role_with
from aws_state import Table, make_bucket, make_table
from fleet import Fleet, check_quiet, state_of, wait_for_state
from listen import ListenSession, text_of
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)


# What `aws init` makes


def test_init_makes_the_table_once(aws, fleet, bucket, init_key, resources):
    for _ in range(2):
        done = fleet.aws_init(**init_key.environment())
        assert done.returncode == 0, done.stderr
    described = aws.client("dynamodb").describe_table(TableName=resources.table)["Table"]
    assert described["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    (index,) = described["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "by_node"
    expiry = aws.client("dynamodb").describe_time_to_live(TableName=resources.table)["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


def test_init_says_that_there_is_no_bucket(fleet, init_key, resources):
    done = fleet.aws_init(**init_key.environment())
    assert done.returncode != 0 and resources.bucket in done.stderr


# A session


def test_a_session_of_an_sdk(fleet, table, bucket):
    node = fleet.start("one", HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="1")
    options = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000", "interim_results": "true"}
    driver = sdk.start("7.17.0", node, speech.path("goforward.wav"), options, [{"audio": [0, None]}, "close"])
    (lease,) = wait_until(lambda: table.leases(fleet.tenant), 30, "the lease is there")
    session = str(lease["sk"]).removeprefix("L#")
    assert state_of(fleet, table, session) == "active" and table.counter(fleet.tenant) == 1
    assert [item["sk"] for item in table.leases_in_index(str(lease["node_epoch"]))] == [lease["sk"]]
    conversation = sdk.result("7.17.0", driver)
    assert conversation.of("error") == [] and conversation.close_code() == 1000
    assert text_of(conversation.finals()) == speech.transcripts()["goforward.wav"]
    assert conversation.finals()[0]["metadata"]["request_id"] == session
    wait_for_state(fleet, table, session, "completed")
    check_quiet(fleet, table)
    assert bucket.transcript(session) == node.transcript(session)
    kept = bucket.head(bucket.key_of(session))
    assert kept["ContentType"] == "application/json" and kept["ChecksumSHA256"]
    status = table.status(session)
    assert status["transcript_location"] == f"s3://{bucket.name}/{bucket.key_of(session)}" and int(status["ttl"])


def test_one_call_for_a_claim_and_one_for_a_release(fleet, table, bucket, dynamodb_proxy):
    node = fleet.start("one")
    for _ in range(2):
        before = dynamodb_proxy.counts().get("TransactWriteItems", 0)
        with ListenSession(node) as session:
            session.send(speech.pcm("goforward.wav"))
            session.finish()
        wait_for_state(fleet, table, session.request_id, "completed")
    assert dynamodb_proxy.counts()["TransactWriteItems"] - before == 2


# Where credentials come from


def identity_token(folder) -> str:
    claims = {"iss": "https://identities.example", "aud": "sts.amazonaws.com", "sub": "node"}
    texts = (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"signature")
    file = folder / "token"
    file.write_text(".".join(base64.urlsafe_b64encode(text).rstrip(b"=").decode() for text in texts))
    return str(file)


def have_session(fleet: Fleet, table: Table) -> None:
    node = fleet.start("one")
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed")


def check_session_key(fleet: Fleet, table: Table, proxy) -> None:
    """A session's state is written with temporary credentials, by whichever source gave them."""
    have_session(fleet, table)
    claims = [request for request in proxy.requests if request.operation == "TransactWriteItems"]
    assert {request.credential[0][:4] for request in claims} == {"ASIA"}
    assert all(request.header("X-Amz-Security-Token") for request in claims)


def test_shared_files_and_profiles(fleet, table, bucket, node_key, dynamodb_proxy, s3_proxy, tmp_path):
    """The region is the profile's too."""
    region = fleet.settings.pop("AWS_REGION")
    for name in node_key.environment():
        del fleet.settings[name]
    files = {
        "AWS_CONFIG_FILE": f"[default]\nregion = us-east-2\n\n[profile scribes]\nregion = {region}\n",
        "AWS_SHARED_CREDENTIALS_FILE": "[default]\naws_access_key_id = AKIAUNKNOWNUNKNOWN12\n"
        f"aws_secret_access_key = {'x' * 40}\n\n[scribes]\n"
        f"aws_access_key_id = {node_key.id}\naws_secret_access_key = {node_key.secret}\n",
    }
    for name, content in files.items():
        file = tmp_path / name.lower()
        file.write_text(content)
        fleet.settings[name] = str(file)
    fleet.settings["AWS_PROFILE"] = "scribes"
    have_session(fleet, table)
    signed = {tuple(one.credential[:3:2]) for proxy in (dynamodb_proxy, s3_proxy) for one in proxy.requests}
    assert signed == {(node_key.id, region)}


def test_web_identity(aws, fleet, table, bucket, resources, dynamodb_proxy, tmp_path):
    provider = aws.client("iam").create_open_id_connect_provider(
        Url="https://identities.example", ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
    )["OpenIDConnectProviderArn"]
    role = role_with(aws, policy("node", resources), federated=provider)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del fleet.settings[name]
    fleet.settings |= {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": identity_token(tmp_path)}
    check_session_key(fleet, table, dynamodb_proxy)


@pytest.mark.parametrize("source", ["metadata", "container"])
def test_the_machine_gives_credentials(founding, stores, resources, faulty, source):
    """ministack does not know afterwards what it has given there, so that here it checks nothing."""
    with Ministack(checks=False) as unchecked:
        table = make_table(unchecked.client("dynamodb"), resources.table)
        make_bucket(unchecked.client("s3"), resources.bucket)
        proxy = faulty(unchecked)
        endpoints = {
            "metadata": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": proxy.url},
            "container": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{proxy.url}/v2/credentials/any"},
        }
        with Fleet(founding, **(stores | aws_environment(proxy.url) | endpoints[source])) as fleet:
            check_session_key(fleet, table, proxy)
