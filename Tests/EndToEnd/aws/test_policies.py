"""deploy/iam: what its policies allow is what is needed, and nothing else.

The calls are made by boto3, one for each kind that the product makes. ministack judges the policies as they are
shipped: resources, conditions, and each write of a transaction. moto is asked about their actions.
"""

import urllib.error

import pytest
from botocore.exceptions import ClientError

from aws_emulators import Moto
from aws_policies import Resources, actions, policy, user_with, without
from aws_state import make_bucket, make_table

LEASE = {"pk": {"S": "T#1"}, "sk": {"S": "L#1"}}
COUNTER = {"pk": {"S": "T#1"}, "sk": {"S": "CONC"}}
STATUS = {"pk": {"S": "S#1"}, "sk": {"S": "STATUS"}}
NODE = {"pk": {"S": "NODES"}, "sk": {"S": "node#1"}}
ONE = {":value": {"N": "1"}}


class Caller:
    """Makes calls under a policy, and notes which AWS does not allow."""

    def __init__(self, aws, document: dict, resources: Resources):
        key = user_with(aws, document)
        self.dynamodb, self.s3 = aws.client("dynamodb", key), aws.client("s3", key, signature_version="s3v4")
        self.aws, self.table, self.resources = aws, {"TableName": resources.table}, resources
        self.object = {"Bucket": resources.bucket, "Key": f"{resources.prefix}/tenant/2026/01/01/session.json"}
        self.refused: list[str] = []
        self.failed: list[str] = []

    def make(self, *calls) -> "Caller":
        for call in calls:
            try:
                call(self)
            except (ClientError, urllib.error.HTTPError) as error:
                status = error.code if isinstance(error, urllib.error.HTTPError) else _status(error)
                (self.refused if status == 403 else self.failed).append(call.__name__)
        return self


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


# What a node does


def claim(by: Caller) -> None:
    counted = {"Key": COUNTER, "UpdateExpression": "ADD n :value", "ExpressionAttributeValues": ONE}
    put = {"Item": LEASE | {"node_epoch": {"S": "node#1"}}}
    by.dynamodb.transact_write_items(TransactItems=[{"Put": by.table | put}, {"Update": by.table | counted}])


def renew(by: Caller) -> None:
    by.dynamodb.update_item(
        **by.table, Key=LEASE, UpdateExpression="SET used_ms = :value", ExpressionAttributeValues=ONE
    )


def read_status(by: Caller) -> None:
    by.dynamodb.get_item(**by.table, Key=STATUS, ConsistentRead=True)


def list_leases_of_tenant(by: Caller) -> None:
    values = {":pk": LEASE["pk"]}
    by.dynamodb.query(
        **by.table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values, ConsistentRead=True
    )


def list_leases_of_node(by: Caller) -> None:
    values = {":epoch": {"S": "node#1"}}
    by.dynamodb.query(
        **by.table, IndexName="by_node", KeyConditionExpression="node_epoch = :epoch", ExpressionAttributeValues=values
    )


def release(by: Caller) -> None:
    delete, put = by.table | {"Key": LEASE}, by.table | {"Item": STATUS}
    by.dynamodb.transact_write_items(TransactItems=[{"Delete": delete}, {"Put": put}])


def bury(by: Caller) -> None:
    by.dynamodb.put_item(**by.table, Item=LEASE | {"ttl": {"N": "1"}}, ConditionExpression="attribute_not_exists(pk)")


def remove_node(by: Caller) -> None:
    by.dynamodb.delete_item(**by.table, Key=NODE)


def put(by: Caller) -> None:
    by.s3.put_object(**by.object, Body=b"{}")


def get(by: Caller) -> None:
    by.s3.get_object(**by.object)


def presign(by: Caller) -> None:
    address = by.s3.generate_presigned_url("get_object", Params=by.object, ExpiresIn=60)
    # While it checks, moto's server fails over any request without an Authorization header.
    if not isinstance(by.aws, Moto):
        by.aws.request("GET", address.removeprefix(by.aws.url))


def list_transcripts(by: Caller) -> None:
    by.s3.list_objects_v2(Bucket=by.resources.bucket, Prefix=f"{by.resources.prefix}/tenant/")


def put_in_parts(by: Caller) -> None:
    upload = by.s3.create_multipart_upload(**by.object)["UploadId"]
    part = by.s3.upload_part(**by.object, UploadId=upload, PartNumber=1, Body=b"{}")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    by.s3.complete_multipart_upload(**by.object, UploadId=upload, MultipartUpload=parts)


def give_parts_up(by: Caller) -> None:
    upload = by.s3.create_multipart_upload(**by.object)["UploadId"]
    by.s3.abort_multipart_upload(**by.object, UploadId=upload)


def delete(by: Caller) -> None:
    by.s3.delete_object(**by.object)


LEASE_CALLS = [claim, renew, read_status, list_leases_of_tenant, list_leases_of_node, release, bury]
TRANSCRIPT_CALLS = [put, get, presign, list_transcripts, put_in_parts, give_parts_up, delete]
NODE_CALLS = [*LEASE_CALLS, remove_node, *TRANSCRIPT_CALLS]


# What `hansard aws init` does


def make(by: Caller) -> None:
    make_table(by.dynamodb, by.resources.table)


def look(by: Caller) -> None:
    by.dynamodb.describe_table(**by.table)
    by.dynamodb.describe_time_to_live(**by.table)


def add_index(by: Caller) -> None:
    keys = [{"AttributeName": "node_epoch", "KeyType": "HASH"}]
    index = {"IndexName": "another", "KeySchema": keys, "Projection": {"ProjectionType": "ALL"}}
    by.dynamodb.update_table(
        **by.table,
        AttributeDefinitions=[{"AttributeName": "node_epoch", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": index}],
    )


def check_bucket(by: Caller) -> None:
    key = f"{by.resources.prefix}/health-check"
    by.s3.list_objects_v2(Bucket=by.resources.bucket, Prefix=key)
    by.s3.put_object(Bucket=by.resources.bucket, Key=key, Body=b"")
    by.s3.get_object(Bucket=by.resources.bucket, Key=key)


INIT_CALLS = [make, look, add_index, check_bucket]

# What nobody but an administrator may


def read_all(by: Caller) -> None:
    by.dynamodb.scan(**by.table)


def remove_table(by: Caller) -> None:
    by.dynamodb.delete_table(**by.table)


def read_another_table(by: Caller) -> None:
    by.dynamodb.get_item(TableName=f"{by.resources.table}-2", Key=LEASE)


def put_elsewhere(by: Caller) -> None:
    by.s3.put_object(Bucket=by.resources.bucket, Key="elsewhere/x", Body=b"")


def read_elsewhere(by: Caller) -> None:
    by.s3.get_object(Bucket=by.resources.bucket, Key="elsewhere/x")


def list_elsewhere(by: Caller) -> None:
    by.s3.list_objects_v2(Bucket=by.resources.bucket, Prefix="elsewhere/")


FORBIDDEN = [read_all, remove_table, read_another_table, put_elsewhere, read_elsewhere, list_elsewhere]
FORBIDDEN_TO_NODES = [*FORBIDDEN, make, look, add_index]
FORBIDDEN_TO_INIT = [*FORBIDDEN, claim, read_status, put, get, delete]


# The tests

AS_SHIPPED = Resources("TABLE", "BUCKET", "PREFIX", "ACCOUNT", "REGION")


def test_a_node_may_do_its_work(aws, resources, table, bucket):
    caller = Caller(aws, policy("node", resources), resources).make(*NODE_CALLS)
    assert (caller.refused, caller.failed) == ([], [])


@pytest.mark.parametrize(("statement", "action"), actions(policy("node", AS_SHIPPED)))
def test_a_node_needs_each_action(aws, resources, table, bucket, statement, action):
    caller = Caller(aws, reduced(aws, policy("node", resources), statement, action), resources).make(*NODE_CALLS)
    assert caller.refused


def test_init_may_do_its_work(aws, resources, bucket):
    caller = Caller(aws, policy("init", resources), resources).make(*INIT_CALLS)
    assert (caller.refused, caller.failed) == ([], [])


@pytest.mark.parametrize(("statement", "action"), actions(policy("init", AS_SHIPPED)))
def test_init_needs_each_action(aws, resources, bucket, statement, action):
    caller = Caller(aws, reduced(aws, policy("init", resources), statement, action), resources).make(*INIT_CALLS)
    assert caller.refused


def reduced(aws, document: dict, statement: int, action: str) -> dict:
    """Without the action; moto knows no resources, so that it must then be allowed on none of them."""
    return without(document, action, None if isinstance(aws, Moto) else statement)


@pytest.mark.parametrize("aws", ["ministack"], indirect=True)
@pytest.mark.parametrize(("name", "calls"), [("node", FORBIDDEN_TO_NODES), ("init", FORBIDDEN_TO_INIT)])
def test_nothing_else_is_allowed(aws, resources, table, bucket, name, calls):
    caller = Caller(aws, policy(name, resources), resources).make(*calls)
    assert (caller.refused, caller.failed) == ([call.__name__ for call in calls], [])


@pytest.mark.parametrize("aws", ["ministack"], indirect=True)
def test_a_bucket_of_ones_own_needs_no_prefix(aws, table):
    resources = Resources(table.name, "of-our-own", "", aws.account)
    make_bucket(aws.client("s3"), "of-our-own")
    caller = Caller(aws, policy("node", resources), resources)
    caller.object["Key"] = "tenant/2026/01/01/session.json"
    caller.make(put, get, delete)
    assert (caller.refused, caller.failed) == ([], [])
