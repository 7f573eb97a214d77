"""What the other tests of this folder take for granted of the emulators: without it, they would prove little."""

import base64
import contextlib
import dataclasses
import hashlib
import json
import threading
import urllib.error
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode

import botocore.auth
import pytest
from botocore.exceptions import ClientError

from aws_emulators import AccessKey
from aws_policies import role_with, session_of, user_with
from aws_state import error_code

only_ministack = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

LEASE = {"pk": {"S": "T#1"}, "sk": {"S": "L#1"}}
COUNTER = {"pk": {"S": "T#1"}, "sk": {"S": "CONC"}}
WRITER = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["dynamodb:PutItem", "s3:PutObject", "s3:GetObject"], "Resource": "*"}],
}


def writes(emulator, key: AccessKey, table, bucket) -> list[str | None]:
    """With what DynamoDB and S3 refuse two writes."""
    put_item, put_object = emulator.client("dynamodb", key).put_item, emulator.client("s3", key).put_object
    return [
        error_code(put_item, TableName=table.name, Item=LEASE),
        error_code(put_object, Bucket=bucket.name, Key="calls/a b+c/ü.json", Body=b"{}"),
    ]


def claim(table, session: str) -> dict:
    """A transaction as the product claims a slot: a lease if there is none, and the counter below its limit."""
    lease = {"pk": {"S": "T#1"}, "sk": {"S": f"L#{session}"}, "nonce": {"S": "mine"}}
    counted = {
        "TableName": table.name,
        "Key": COUNTER,
        "UpdateExpression": "ADD n :one",
        "ConditionExpression": "n < lim",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    put = {"TableName": table.name, "Item": lease, "ConditionExpression": "attribute_not_exists(pk)"}
    every = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    return {"TransactItems": [{"Put": put | every}, {"Update": counted | every}]}


# Who may


def test_only_loopback_is_listened_on(aws):
    """ministack has listeners that `BIND_HOST` is not for."""
    listening = [line.split() for line in Path(f"/proc/{aws.subprocess.pid}/net/tcp").read_text().splitlines()[1:]]
    elsewhere = {f"socket:[{line[9]}]" for line in listening if line[3] == "0A" and not line[1].startswith("0100007F:")}
    held = set()
    for file in Path(f"/proc/{aws.subprocess.pid}/fd").iterdir():
        # Connections of earlier tests may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            held.add(str(file.readlink()))
    assert not held & elsewhere


def test_wrong_signatures_and_strangers_are_refused(aws, table, bucket):
    key = user_with(aws, WRITER)
    assert writes(aws, key, table, bucket) == [None, None]
    for wrong in (dataclasses.replace(key, secret="x" * 40), AccessKey("AKIAUNKNOWNUNKNOWN12", key.secret)):
        assert None not in writes(aws, wrong, table, bucket)


def test_what_no_policy_allows_is_refused(aws, table, bucket):
    key = user_with(aws, WRITER)
    read, delete = aws.client("dynamodb", key).get_item, aws.client("s3", key).delete_object
    # moto answers DynamoDB's clients in XML, of which they read the status alone.
    assert error_code(read, TableName=table.name, Key=LEASE) in ("AccessDeniedException", "403")
    assert error_code(delete, Bucket=bucket.name, Key="calls/x") == "AccessDenied"


@only_ministack
def test_each_write_of_a_transaction_needs_its_action(aws, table):
    write = aws.client("dynamodb", user_with(aws, WRITER)).transact_write_items
    assert error_code(write, **claim(table, "1")) == "AccessDeniedException"


@only_ministack
def test_sessions_need_their_token(aws, table, bucket):
    key = session_of(aws, role_with(aws, WRITER))
    assert writes(aws, key, table, bucket) == [None, None]
    for token in (None, "another"):
        refused = writes(aws, dataclasses.replace(key, token=token), table, bucket)
        assert refused[0] == "UnrecognizedClientException"
        assert refused[1] in ("InvalidAccessKeyId", "InvalidToken")


@only_ministack
@pytest.mark.parametrize("minutes", [-16, 16])
def test_clocks_more_than_15_minutes_off_are_refused(aws, table, bucket, monkeypatch, minutes):
    key = user_with(aws, WRITER)

    def wrong(remove_tzinfo=True) -> datetime:
        now = datetime.now(timezone.utc) + timedelta(minutes=minutes)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    monkeypatch.setattr(botocore.auth, "get_current_datetime", wrong)
    assert writes(aws, key, table, bucket) == ["InvalidSignatureException", "RequestTimeTooSkewed"]


@only_ministack
def test_presigned_addresses_are_checked(aws, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="calls/x", Body=b"kept")
    parameters = {"Bucket": bucket.name, "Key": "calls/x", "ResponseContentDisposition": 'attachment; filename="x"'}
    signer = aws.client("s3", user_with(aws, WRITER), signature_version="s3v4")
    path = signer.generate_presigned_url("get_object", Params=parameters, ExpiresIn=60).removeprefix(aws.url)
    assert aws.request("GET", path) == b"kept"
    for wrong in (path.replace("/x?", "/y?"), path.replace("Expires=60", "Expires=61"), path[:-1] + "g"):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            aws.request("GET", wrong)
        assert refusal.value.code == 403


# Where credentials come from


@only_ministack
def test_metadata_service_wants_a_token(aws):
    path = "/latest/meta-data/iam/security-credentials/"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        aws.request("GET", path)
    assert refusal.value.code == 401
    token = aws.request("PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds="60").decode()
    role = aws.request("GET", path, X_aws_ec2_metadata_token=token).decode()
    given = json.loads(aws.request("GET", path + role, X_aws_ec2_metadata_token=token))
    assert given["Code"] == "Success" and {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} <= set(given)


@only_ministack
def test_container_endpoint_gives_credentials(aws):
    given = json.loads(aws.request("GET", "/v2/credentials/any"))
    assert set(given) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn"}


@only_ministack
def test_sts_knows_web_identities_from_nonsense(aws, table, bucket):
    provider = aws.client("iam").create_open_id_connect_provider(
        Url="https://identities.example", ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
    )["OpenIDConnectProviderArn"]
    role = role_with(aws, WRITER, federated=provider)

    def ask(token: str) -> bytes:
        form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role}
        form |= {"RoleSessionName": "node", "WebIdentityToken": token}
        body = urlencode(form).encode()
        return aws.request("POST", "/", body, Content_Type="application/x-www-form-urlencoded")

    claims = {"iss": "https://identities.example", "aud": "sts.amazonaws.com", "sub": "node"}
    texts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*texts, b"signature")]
    answer = ask(".".join(parts)).decode()
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    key = AccessKey(*(answer.split(f"<{name}>")[1].split("<")[0] for name in names))
    assert writes(aws, key, table, bucket) == [None, None]
    with pytest.raises(urllib.error.HTTPError) as refusal:
        ask("nonsense")
    assert refusal.value.code == 403


# What they keep


def test_a_refused_transaction_says_why(aws, table):
    table.client.put_item(TableName=table.name, Item=COUNTER | {"n": {"N": "0"}, "lim": {"N": "1"}})
    table.client.transact_write_items(**claim(table, "1"))
    failed = "ConditionalCheckFailed"
    for session, codes, shown in (("1", [failed, failed], 0), ("2", ["None", failed], 1)):
        with pytest.raises(ClientError) as refusal:
            table.client.transact_write_items(**claim(table, session))
        reasons = refusal.value.response["CancellationReasons"]
        assert [reason["Code"] for reason in reasons] == codes
        assert reasons[shown]["Item"]["pk"] == {"S": "T#1"}
    assert table.counter("1") == 1


@only_ministack
def test_transactions_are_atomic(aws, table):
    """moto's are not, between threads: it may answer one of hundreds with an error of its own."""
    table.client.put_item(TableName=table.name, Item=COUNTER | {"n": {"N": "0"}, "lim": {"N": "20"}})
    outcomes: list[str | None] = []

    def claims(number: int) -> None:
        client = aws.client("dynamodb")
        for index in range(5):
            outcomes.append(error_code(client.transact_write_items, **claim(table, f"{number}.{index}")))

    threads = [threading.Thread(target=claims, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count(None), outcomes.count("TransactionCanceledException")) == (20, 30)
    assert table.counter("1") == len(table.items("T#1", "L#")) == 20


@only_ministack
def test_checksums_are_compared(aws, bucket):
    """moto takes any."""
    wrong = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()
    named = {"Bucket": bucket.name, "Key": "calls/x", "Body": b"kept"}
    assert error_code(bucket.client.put_object, **named, ChecksumSHA256=wrong) == "BadDigest"
    assert bucket.keys() == []


def test_reset_forgets_all(aws, table, bucket):
    aws.reset()
    assert aws.client("dynamodb").list_tables()["TableNames"] == []
    assert aws.client("s3").list_buckets()["Buckets"] == []
