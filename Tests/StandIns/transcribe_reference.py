"""What AWS's own Python packages make of event streams and presigned requests: the reference for ours.

The first argument says what to do; lines are JSON objects.

messages SEED COUNT   random messages, encoded by amazon-transcribe, on standard output
chunks SEED COUNT     random chains of signed chunks, by amazon-transcribe's signer, on standard output
decode                hexadecimal messages from standard input, decoded by amazon-transcribe
presign               presigned addresses from standard input, signed anew by botocore
"""

import datetime
import json
import random
import sys
import uuid
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

from amazon_transcribe.auth import Credentials as StreamCredentials
from amazon_transcribe.eventstream import (
    EventSigner, EventStreamBuffer, EventStreamMessageSerializer, Int8HeaderValue, Int16HeaderValue, Int32HeaderValue,
    Int64HeaderValue,
)  # fmt: skip
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
INTEGERS = {8: Int8HeaderValue, 16: Int16HeaderValue, 32: Int32HeaderValue, 64: Int64HeaderValue}
ALPHABET = "abcXYZ019:-_. äß中🎙️\u0301\u0000"


def text(rng, shortest, longest):
    count = rng.randint(shortest, longest)
    return "".join(rng.choice(ALPHABET) for _ in range(count))


def integer(rng, bits):
    edges = [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    return rng.choice(edges + [rng.randint(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)] * 3)


def value(rng):
    """A value for the serializer, with its type and spelling for the reader."""
    kind = rng.choice(["bool", "int8", "int16", "int32", "int64", "bytes", "string", "timestamp", "uuid"])
    longest = rng.choice([0, 3, 40, 400]) if rng.random() < 0.98 else 32767
    if kind == "bool":
        flag = rng.random() < 0.5
        return flag, kind, str(flag).lower()
    if kind.startswith("int"):
        number = integer(rng, int(kind[3:]))
        return INTEGERS[int(kind[3:])](number), kind, str(number)
    if kind == "bytes":
        data = rng.randbytes(longest)
        return data, kind, data.hex()
    if kind == "string":
        words = text(rng, 0, longest).encode()[:32767].decode(errors="ignore")
        return words, kind, words.encode().hex()
    if kind == "timestamp":
        moment = EPOCH + datetime.timedelta(seconds=rng.randint(0, 4_102_444_800), milliseconds=rng.randint(0, 999))
        return moment, kind, str(int(moment.timestamp() * 1000))
    identifier = uuid.UUID(bytes=rng.randbytes(16))
    return identifier, kind, str(identifier).upper()


def messages(seed, count):
    rng = random.Random(seed)
    serializer = EventStreamMessageSerializer()
    for _ in range(count):
        headers, described = {}, []
        for _ in range(rng.choice([0, 1, 3, 3, 3, 8, 40])):
            name = text(rng, 1, rng.choice([1, 5, 20, 60]))
            if name in headers:
                continue
            headers[name], kind, spelling = value(rng)
            described.append([name.encode().hex(), kind, spelling])
        payload = rng.randbytes(rng.choice([0, 1, 7, 100, 3200]))
        if sum(len(spelling) for _, _, spelling in described) > 250_000:
            continue
        frame = serializer.serialize(headers, payload)
        print(json.dumps({"headers": described, "payload": payload.hex(), "frame": frame.hex()}))


def chunks(seed, count):
    rng = random.Random(seed)
    serializer = EventStreamMessageSerializer()
    audio_headers = {
        ":content-type": "application/octet-stream", ":event-type": "AudioEvent", ":message-type": "event",
    }  # fmt: skip
    for _ in range(count):
        credentials = StreamCredentials("AKID", text(rng, 1, 40), None)
        region = rng.choice(["eu-west-1", "us-east-1", "cn-north-1"])
        prior = rng.randbytes(32)
        chain = {"secret": credentials.secret_access_key, "region": region, "seed": prior.hex(), "chunks": []}
        # Near midnight, where the key changes.
        now = rng.randint(10_000, 40_000) * 86_400_000 + rng.choice([43_200_000, 86_399_000])
        length = rng.randint(1, 6)
        for index in range(length):
            moment = EPOCH + datetime.timedelta(milliseconds=now)
            audio = b"" if index == length - 1 else rng.randbytes(rng.choice([2, 640, 3200]))
            inner = serializer.serialize(audio_headers, audio) if audio else b""
            headers = EventSigner("transcribe", region, lambda: moment).sign(inner, prior, credentials)
            prior = headers[":chunk-signature"]
            # As the serializer rounds it.
            milliseconds = int(moment.timestamp() * 1000)
            frame = serializer.serialize(headers, inner)
            chain["chunks"].append({"milliseconds": milliseconds, "audio": audio.hex(), "frame": frame.hex()})
            # Milliseconds that doubles hold exactly, because the serializer cuts where others round.
            now += rng.choice([125, 250, 500, 1000])
        print(json.dumps(chain))


def spelled(decoded):
    if isinstance(decoded, bool):
        return str(decoded).lower()
    if isinstance(decoded, bytes):
        return decoded.hex()
    return decoded.encode().hex() if isinstance(decoded, str) else str(decoded)


def decode():
    for line in sys.stdin:
        buffer = EventStreamBuffer()
        buffer.add_data(bytes.fromhex(line))
        message = buffer.next()
        headers = [[name.encode().hex(), spelled(content)] for name, content in message.headers.items()]
        print(json.dumps({"headers": headers, "payload": message.payload.hex()}))


def presign():
    for line in sys.stdin:
        item = json.loads(line)
        address = urlsplit(item["url"])
        own, signed = address.query.split("&X-Amz-Algorithm=", 1)
        request = AWSRequest(method="GET", url=address._replace(query=own).geturl())
        credentials = Credentials(item["key"], item["secret"], item.get("token"))
        signer = SigV4QueryAuth(credentials, "transcribe", item["region"], expires=item["lifetime"])
        now = datetime.datetime.fromtimestamp(item["date"], datetime.timezone.utc)
        with mock.patch("botocore.auth.get_current_datetime", return_value=now):
            signer.add_auth(request)
        expected = urlsplit(request.url).query.split("&X-Amz-Algorithm=", 1)[1]
        parameters = dict(parse_qsl(own, keep_blank_values=True, strict_parsing=True))
        print(json.dumps({"expected": expected, "signed": signed, "parameters": parameters}))


def main():
    what, *numbers = sys.argv[1:]
    {"messages": messages, "chunks": chunks, "decode": decode, "presign": presign}[what](*map(int, numbers))


main()
