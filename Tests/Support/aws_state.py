"""What the product keeps in DynamoDB and S3, read by boto3 so that it is read by something other than the product."""

import json
from dataclasses import dataclass

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

Item = dict[str, object]


@dataclass(frozen=True)
class Table:
    """The table of connection state. The only place that names its items."""

    client: object
    name: str

    def item(self, partition: str, sort: str) -> Item | None:
        key = {"pk": {"S": partition}, "sk": {"S": sort}}
        found = self.client.get_item(TableName=self.name, Key=key, ConsistentRead=True).get("Item")
        return plain(found) if found else None

    def items(self, partition: str, prefix: str = "") -> list[Item]:
        condition, values = "pk = :partition", {":partition": {"S": partition}}
        if prefix:
            condition, values = condition + " AND begins_with(sk, :prefix)", values | {":prefix": {"S": prefix}}
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name, ConsistentRead=True, KeyConditionExpression=condition, ExpressionAttributeValues=values
        )
        return [plain(item) for page in pages for item in page["Items"]]

    def everything(self) -> list[Item]:
        pages = self.client.get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        return [plain(item) for page in pages for item in page["Items"]]

    def lease(self, tenant: str, session: str) -> Item | None:
        """The lease that holds a slot; a tombstone in its place is none."""
        item = self.item(f"T#{tenant}", f"L#{session}")
        return item if item and "node_epoch" in item else None

    def leases(self, tenant: str) -> list[Item]:
        return [item for item in self.items(f"T#{tenant}", "L#") if "node_epoch" in item]

    def all_leases(self) -> list[Item]:
        """Of all tenants: by a scan, so that the index is not believed."""
        return [item for item in self.everything() if str(item["sk"]).startswith("L#") and "node_epoch" in item]

    def leases_in_index(self, epoch: str) -> list[Item]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            IndexName="by_node",
            KeyConditionExpression="node_epoch = :epoch",
            ExpressionAttributeValues={":epoch": {"S": epoch}},
        )
        return [plain(item) for page in pages for item in page["Items"]]

    def counter(self, tenant: str) -> int:
        """How many slots the tenant holds by its counter; 0 before there is one."""
        item = self.item(f"T#{tenant}", "CONC")
        return int(item["n"]) if item else 0

    def status(self, session: str) -> Item | None:
        return self.item(f"S#{session}", "STATUS")

    def state(self, session: str, tenant: str) -> str | None:
        """`active` while its lease is there, then what its status says."""
        if status := self.status(session):
            return str(status["state"])
        return "active" if self.lease(tenant, session) else None

    def nodes(self) -> list[Item]:
        return self.items("NODES")


@dataclass(frozen=True)
class Bucket:
    """The bucket of transcripts, below a prefix."""

    client: object
    name: str
    prefix: str = ""

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def key_of(self, session: str) -> str | None:
        """The only object of that session, wherever below the prefix it is."""
        found = [key for key in self.keys() if key.endswith(f"/{session}.json")]
        assert len(found) <= 1, found
        return found[0] if found else None

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def head(self, key: str) -> dict:
        """Its size, type, encryption, checksum and metadata."""
        return self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")

    def transcript(self, session: str) -> dict | None:
        key = self.key_of(session)
        return json.loads(self.read(key)) if key else None

    def unfinished_uploads(self) -> list[str]:
        listed = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in listed.get("Uploads", [])]


def plain(item: dict) -> Item:
    """An item without DynamoDB's types; numbers are `Decimal`."""
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def make_table(client, name: str) -> Table:
    """The table as `hansard aws init` should make it, for tests that are not about that."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk", "node_epoch")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_node",
                "KeySchema": [{"AttributeName": "node_epoch", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"})
    return Table(client, name)


def make_bucket(client, name: str, prefix: str = "") -> Bucket:
    region = client.meta.region_name
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    return Bucket(client, name, prefix)


def error_code(call, *arguments, **named) -> str | None:
    """The code with which AWS refuses a call; nothing if it does not."""
    try:
        call(*arguments, **named)
        return None
    except ClientError as refusal:
        return refusal.response["Error"]["Code"]
