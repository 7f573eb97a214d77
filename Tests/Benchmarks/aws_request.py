"""What a call of DynamoDB costs besides its transfer, and a message of Amazon Transcribe: instructions (by callgrind, so
that they carry over to other machines) and CPU time, beside the CPU time of botocore and of the package amazon-transcribe
for the same in the same run."""

import json
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session
from programs import Program
from StandIns.transcribe import events

PROGRAM = Program("aws_request", ["AWS", "HTTPClient", "Crypto", "EventLoops"], ["crypto", "ssl", "uv", "curl"])
COUNT, FEW, MANY = 20_000, 100, 1_100
REFERENCE_COUNT = 1_000
AUDIO = bytes([7]) * 3200
KEY, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "t" * 800
REGION, URL = "eu-west-1", "https://dynamodb.eu-west-1.amazonaws.com/"


# The same by botocore


def sign() -> None:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.TransactWriteItems"}
    signer = SigV4Auth(Credentials(KEY, SECRET, TOKEN), "dynamodb", REGION)
    signer.add_auth(AWSRequest(method="POST", url=URL, headers=headers, data=b"x" * 1500))


class Claims:
    """A client whose calls are answered where they would be sent, by botocore's own hook."""

    def __init__(self, status: int, answer: bytes):
        self.status, self.answer = status, answer
        self.items = json.loads(PROGRAM.said("body"))["TransactItems"]
        self.client = Session().create_client(
            "dynamodb", region_name=REGION, endpoint_url=URL, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            aws_session_token=TOKEN, config=Config(retries={"mode": "standard", "max_attempts": 3}),
        )
        self.client.meta.events.register("before-send.dynamodb.TransactWriteItems", self._answered)

    def _answered(self, request, **_) -> AWSResponse:
        return AWSResponse(request.url, self.status, {"Content-Type": "application/x-amz-json-1.0"}, self)

    def stream(self):
        yield self.answer

    def call(self) -> None:
        try:
            self.client.transact_write_items(TransactItems=self.items)
            assert self.status == 200
        except ClientError as refusal:
            assert refusal.response["CancellationReasons"][1]["Item"]["n"] == {"N": "50"}


def reference_microseconds(call) -> float:
    call()
    start = time.process_time()
    for _ in range(REFERENCE_COUNT):
        call()
    return (time.process_time() - start) / REFERENCE_COUNT * 1e6


# The same by amazon-transcribe


def frame_audio() -> None:
    events.audio_event(AUDIO)


def read_event(message: bytes):
    def read() -> None:
        results = json.loads(events.decode(message).payload)["Transcript"]["Results"]
        assert len(results[0]["Alternatives"][0]["Items"]) == 20

    return read


def table(title: str, other: str, measured) -> None:
    print(title)
    print("(instructions without SHA extensions, which callgrind lacks)")
    print(f"{'':<42} {'instructions':>12} {'us CPU':>8} {other + ' us':>20} {'takes':>12}")
    for what, name, reference in measured:
        microseconds, theirs = float(PROGRAM.said(what, COUNT)), reference_microseconds(reference)
        ratio = f"{theirs / microseconds:.1f} times"
        print(f"{name:<42} {PROGRAM.instructions(FEW, MANY, what):12,} {microseconds:8.1f} {theirs:20.1f} {ratio:>12}")
    print()


def main() -> None:
    PROGRAM.compile()
    message = bytes.fromhex(PROGRAM.said("message").strip())
    size = len(PROGRAM.said("body").strip())
    measured = [
        ("sign", "a signature, body of 1,500 bytes", sign),
        ("claim", f"a claim, body of {size:,} bytes", Claims(200, b"{}").call),
        ("refusal", "a claim that is refused, with its answer", Claims(400, PROGRAM.said("answer").strip().encode()).call),
    ]
    table(
        "A call of DynamoDB besides its transfer: encoded, signed with a token of 800 bytes, its answer read",
        "botocore",
        measured,
    )
    table(
        "A message of Amazon Transcribe",
        "amazon-transcribe",
        [
            ("audio", "100 ms of audio, framed", frame_audio),
            ("event", f"a result of 20 words, {len(message):,} bytes", read_event(message)),
        ],
    )


if __name__ == "__main__":
    main()
