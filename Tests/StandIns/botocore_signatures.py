"""Random requests with the signatures that botocore makes for them, one JSON object a line on standard output.

Arguments: the generator's seed, and how many. What AWS's own SDK for Python does is the reference: its signers are called
as they are, with its clock set to the request's.
"""

import datetime
import json
import random
import sys
from unittest import mock
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
ODD = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\x7f"
UNICODE = "äßÉñøžЖλשع中文字かな한글\u0301\u200d\u00a0€🎙️🇪🇺\U0001f469\u200d\U0001f680"
SERVICES = ["dynamodb", "sts", "transcribe", "execute-api", "iam", "service"]
REGIONS = ["us-east-1", "eu-west-1", "ap-southeast-4", "us-gov-west-1", "cn-north-1"]
HEADERS = [
    "Content-Type", "content-md5", "X-Amz-Target", "x-amz-meta-Name", "Range", "If-None-Match", "X-AMZ-Server-Side-Encryption",
    "x-b3", "X-B", "x-b-3", "User-Agent", "Expect", "X-Amzn-Trace-Id", "Connection", "Accept", "Cache-Control", "Te",
]  # fmt: skip


def text(rng, alphabet, longest):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, longest)))


def word(rng):
    return text(rng, rng.choice([LETTERS, LETTERS + ODD, LETTERS + UNICODE, ODD + UNICODE]), 12)


def path(rng):
    segments = [rng.choice([word(rng), word(rng), word(rng), "", ".", ".."]) for _ in range(rng.randint(0, 5))]
    return "/" + "/".join(quote(segment, safe="-_.~") for segment in segments)


def query(rng, repeats):
    pairs = []
    for _ in range(rng.choice([0, 0, 1, 2, 3, 8])):
        key = word(rng) or "k"
        if not repeats and any(key == other for other, _ in pairs):
            continue
        pairs.append((key, word(rng)))
        if repeats and rng.random() < 0.2:
            pairs.append((key, word(rng)))
    return "&".join(
        quote(key, safe="-_.~") + ("" if not value and rng.random() < 0.5 else "=" + quote(value, safe="-_.~"))
        for key, value in pairs
    )


def header_value(rng):
    spaces = rng.choice(["", " ", "   ", "\t", " \t "])
    words = [text(rng, LETTERS + "!#$%&'*+-.^_`|~\"(),/:;<=>?@[]{}", 10) for _ in range(rng.randint(0, 4))]
    return rng.choice(["", spaces]) + (rng.choice([" ", "  ", "\t", ", "])).join(words) + rng.choice(["", spaces])


def headers(rng):
    result = []
    for name in rng.sample(HEADERS, rng.randint(0, 6)):
        name = rng.choice([name, name.lower(), name.upper()])
        result.append([name, header_value(rng)])
        if rng.random() < 0.2:
            result.append([rng.choice([name, name.swapcase()]), header_value(rng)])
    rng.shuffle(result)
    return result


def origin(rng):
    host = rng.choice(["dynamodb.eu-west-1.amazonaws.com", "127.0.0.1", "[::1]", "bucket.s3.amazonaws.com", "Stand-In"])
    return rng.choice(["http://", "https://"]) + host + rng.choice(["", "", ":443", ":80", ":4566"])


def case(rng):
    presigned = rng.random() < 0.35
    is_s3 = rng.random() < 0.5
    item = {
        "method": rng.choice(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"]),
        "origin": origin(rng),
        "path": path(rng),
        "query": query(rng, repeats=not presigned),
        "headers": headers(rng),
        "body": "" if presigned or rng.random() < 0.3 else rng.randbytes(rng.randint(1, 300)).hex(),
        "service": "s3" if is_s3 else rng.choice(SERVICES),
        "region": rng.choice(REGIONS),
        "key": "AKIA" + text(rng, LETTERS, 16),
        "secret": word(rng) + "s",
        "token": rng.choice([None, None, word(rng) + "//t==", rng.randbytes(300).hex()]),
        "date": rng.randint(0, 4_102_444_800),
        "lifetime": rng.randint(1, 604_800) if presigned else None,
        "unsigned": not presigned and rng.random() < 0.2,
    }
    if not presigned and item["token"]:
        # In a header a token is a word: white space within it would not arrive.
        item["token"] = "".join(item["token"].split()).encode("ascii", "ignore").decode()
    return item


def sign(item):
    """What botocore makes of a request: its `Authorization` header, or its query."""
    url = item["origin"] + item["path"] + ("?" + item["query"] if item["query"] else "")
    request = AWSRequest(method=item["method"], url=url, data=bytes.fromhex(item["body"]))
    for name, value in item["headers"]:
        request.headers.add_header(name, value)
    credentials = Credentials(item["key"], item["secret"], item["token"])
    is_s3 = item["service"] == "s3"
    if item["lifetime"]:
        signer = (S3SigV4QueryAuth if is_s3 else SigV4QueryAuth)(
            credentials, item["service"], item["region"], expires=item["lifetime"]
        )
    else:
        signer = (S3SigV4Auth if is_s3 else SigV4Auth)(credentials, item["service"], item["region"])
        if item["unsigned"]:
            request.context["payload_signing_enabled"] = False
            # Without this, over http and for S3, botocore would sign the payload after all.
            signer.payload = lambda request: "UNSIGNED-PAYLOAD"
    now = datetime.datetime.fromtimestamp(item["date"], datetime.timezone.utc)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        signer.add_auth(request)
    if item["lifetime"]:
        return urlsplit(request.url).query
    return request.headers["Authorization"]


def main():
    seed, count = (int(argument) for argument in sys.argv[1:3])
    rng = random.Random(seed)
    for _ in range(count):
        item = case(rng)
        item["expected"] = sign(item)
        print(json.dumps(item))


main()
