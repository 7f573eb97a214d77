"""The proxy that lets faults befall calls to AWS: that it does so, and nothing else."""

import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

import aws_faults
from aws_faults import operation
from aws_policies import policy, user_with
from aws_state import error_code
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

LEASE = {"pk": {"S": "T#1"}, "sk": {"S": "L#1"}, "node_epoch": {"S": "node#1"}}


@pytest.fixture
def key(aws, resources):
    """Signatures are checked, so that what the proxy forwards must be what was signed."""
    return user_with(aws, policy("node", resources))


@pytest.fixture
def proxy(aws, faulty):
    return faulty(aws)


@pytest.fixture
def put_item(aws, proxy, key, table):
    client = aws.client("dynamodb", key, url=proxy.url, read_timeout=1)
    return lambda: client.put_item(TableName=table.name, Item=LEASE)


@pytest.fixture
def put_object(aws, proxy, key, bucket):
    client = aws.client("s3", key, url=proxy.url, read_timeout=1)
    return lambda: client.put_object(Bucket=bucket.name, Key="calls/a b+c/ü.json", Body=b"{}")


def is_there(table) -> bool:
    return table.lease("1", "1") is not None


# Without faults


def test_signed_requests_pass(aws, proxy, put_item, put_object, table, bucket):
    put_item()
    put_object()
    assert is_there(table) and bucket.read("calls/a b+c/ü.json") == b"{}"
    assert proxy.counts() == {"PutItem": 1, "PutObject": 1}


def test_bodies_and_lengths_are_as_without_it(aws, proxy, key, bucket):
    large = bytes(range(256)) * 40_000
    client = aws.client("s3", key, url=proxy.url)
    named = {"Bucket": bucket.name, "Key": "calls/large"}
    upload = client.create_multipart_upload(**named)["UploadId"]
    part = client.upload_part(**named, UploadId=upload, PartNumber=1, Body=large)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(**named, UploadId=upload, MultipartUpload=parts)
    assert client.head_object(**named)["ContentLength"] == len(large)
    assert client.get_object(**named)["Body"].read() == large
    assert client.list_objects_v2(Bucket=bucket.name, Prefix="calls/")["KeyCount"] == 1
    client.delete_object(**named)
    in_parts = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
    assert list(proxy.counts()) == [*in_parts, "HeadObject", "GetObject", "ListObjectsV2", "DeleteObject"]


def test_connections_are_kept(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as connection, connection.makefile("rb") as answers:
        for _ in range(2):
            connection.sendall(b"GET /_ministack/health HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b" 200 " in answers.readline()
            length = 0
            while (line := answers.readline().strip().lower()) != b"":
                length = int(line.split(b":")[1]) if line.startswith(b"content-length:") else length
            assert len(answers.read(length)) == length > 0


# Networks


def test_away_and_back(proxy, put_item, table):
    put_item()
    proxy.go_away()
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        put_item()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 5)
    proxy.come_back()
    put_item()


def test_going_away_ends_what_is_under_way(proxy, put_item):
    proxy.fault(aws_faults.hang)
    failures: list[Exception] = []

    def waits() -> None:
        try:
            put_item()
        except Exception as failure:
            failures.append(failure)

    waiting = threading.Thread(target=waits)
    waiting.start()
    wait_until(lambda: proxy.requests, 5, "the request has come")
    proxy.go_away()
    waiting.join(10)
    assert [type(failure) for failure in failures] == [ConnectionClosedError]


def test_a_lost_request_is_not_done(proxy, put_item, table):
    proxy.fault(aws_faults.lose_request)
    with pytest.raises(ConnectionClosedError):
        put_item()
    assert not is_there(table)


def test_a_lost_reply_is_of_something_done(proxy, put_item, table):
    proxy.fault(aws_faults.lose_reply, times=1)
    with pytest.raises(ConnectionClosedError):
        put_item()
    assert is_there(table)
    put_item()


@pytest.mark.parametrize(("fault", "done"), [(aws_faults.hang, False), (aws_faults.hang_after_commit, True)])
def test_hanging(proxy, put_item, table, fault, done):
    rule = proxy.fault(fault)
    with pytest.raises(ReadTimeoutError):
        put_item()
    assert is_there(table) is done
    proxy.clear(rule)
    put_item()


def test_a_late_request_is_done_after_its_client_has_gone(proxy, put_item, table):
    rule = proxy.fault(aws_faults.late_request(60), times=1)
    with pytest.raises(ReadTimeoutError):
        put_item()
    assert not is_there(table)
    proxy.clear(rule)
    wait_until(lambda: is_there(table), 5, "the late request has been done")


def test_a_slow_reply_comes(proxy, put_item, table):
    proxy.fault(aws_faults.slow_reply(0.3))
    started = time.monotonic()
    put_item()
    assert time.monotonic() - started >= 0.3


# Answers of AWS


def test_throttling(proxy, put_item, put_object, table):
    proxy.fault(aws_faults.throttle)
    assert error_code(put_item) == "ThrottlingException"
    assert error_code(put_object) == "SlowDown"
    assert not is_there(table)


def test_clients_retry_what_is_throttled(aws, proxy, key, table):
    proxy.fault(aws_faults.throttle, times=2)
    client = aws.client("dynamodb", key, url=proxy.url, retries={"mode": "standard", "total_max_attempts": 3})
    client.put_item(TableName=table.name, Item=LEASE)
    assert proxy.counts() == {"PutItem": 3} and is_there(table)


def test_conflicts_of_transactions(aws, proxy, key, table):
    proxy.fault(aws_faults.transaction_conflict, operation("TransactWriteItems"))
    put = {"Put": {"TableName": table.name, "Item": LEASE}}
    other = {"Delete": {"TableName": table.name, "Key": {"pk": {"S": "T#1"}, "sk": {"S": "L#2"}}}}
    with pytest.raises(ClientError) as refusal:
        aws.client("dynamodb", key, url=proxy.url).transact_write_items(TransactItems=[put, other])
    assert refusal.value.response["Error"]["Code"] == "TransactionCanceledException"
    reasons = refusal.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["TransactionConflict"] * 2


def test_expired_tokens(proxy, put_item, put_object):
    proxy.fault(aws_faults.expired_token)
    assert error_code(put_item) == "ExpiredTokenException"
    assert error_code(put_object) == "ExpiredToken"


def test_any_error(proxy, put_item, put_object):
    proxy.fault(aws_faults.error(500, "InternalServerError"))
    assert error_code(put_item) == error_code(put_object) == "InternalServerError"


def test_buckets_of_another_region(proxy, put_object, bucket):
    """botocore believes what it is told, and signs again for that region, in which ministack has no such bucket."""
    rule = proxy.fault(aws_faults.other_region("eu-central-1"))
    assert error_code(put_object) == "PermanentRedirect"
    assert [request.credential[2] for request in proxy.requests] == ["eu-west-1", "eu-central-1"]
    proxy.clear(rule)
    proxy.fault(aws_faults.other_region("eu-west-1"))
    put_object()
    assert bucket.keys()


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks(proxy, put_item, put_object, table, minutes):
    proxy.fault(aws_faults.clock(timedelta(minutes=minutes)))
    for call, code in ((put_item, "InvalidSignatureException"), (put_object, "RequestTimeTooSkewed")):
        with pytest.raises(ClientError) as refusal:
            call()
        assert refusal.value.response["Error"]["Code"] == code
        said = parsedate_to_datetime(refusal.value.response["ResponseMetadata"]["HTTPHeaders"]["date"])
        assert abs(said - datetime.now(timezone.utc) - timedelta(minutes=minutes)) < timedelta(minutes=1)
    assert not is_there(table)
    proxy.clear()
    proxy.fault(aws_faults.clock(timedelta(minutes=minutes), tolerance=timedelta(minutes=15)))
    put_item()


# Rules


def test_faults_befall_only_whom_they_are_for(proxy, put_item, put_object, table):
    rule = proxy.fault(aws_faults.throttle, operation("PutObject"), times=1)
    put_item()
    assert error_code(put_object) == "SlowDown"
    put_object()
    assert [request.operation for request in rule.hits] == ["PutObject"]


def test_an_emulator_that_is_away_is_aws_away(faulty, aws, key):
    class Away:
        url = "http://127.0.0.1:1"

    client = aws.client("dynamodb", key, url=faulty(Away).url)
    with pytest.raises(ConnectionClosedError):
        client.list_tables()
