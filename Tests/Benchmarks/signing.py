"""What a signature costs: instructions (by callgrind, so that they carry over to other machines) and CPU time, beside
botocore's CPU time for the same request."""

import pathlib
import re
import subprocess
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from places import PROJECT

RELEASE = PROJECT / ".build/release"
PROGRAM = PROJECT / ".build/signing"
COUNT, FEW, MANY = 100_000, 100, 2_100


def compile_program() -> None:
    """Against the modules and objects of the release build, so that what is measured is what is shipped."""
    maps = [f"-fmodule-map-file={path}" for path in PROJECT.glob("Sources/C*/module.modulemap")]
    targets = ["AWS", "HTTPClient", "Crypto", "EventLoops"]
    objects = [str(path) for target in targets for path in (RELEASE / f"{target}.build").glob("*.o")]
    subprocess.run(
        ["swiftc", "-O", "-wmo", "-swift-version", "6", pathlib.Path(__file__).with_suffix(".swift")]
        + ["-I", RELEASE / "Modules", *(part for flag in maps for part in ("-Xcc", flag)), *objects]
        + ["-lcrypto", "-lssl", "-luv", "-lcurl", "-o", PROGRAM],
        check=True,
    )


def instructions(count: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", output)[1])


def botocore_microseconds(count: int) -> float:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    signer = SigV4Auth(Credentials("AKIAIOSFODNN7EXAMPLE", secret, "t" * 800), "dynamodb", "eu-west-1")
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.TransactWriteItems",
    }
    url, body = "https://dynamodb.eu-west-1.amazonaws.com/", b"x" * 1500
    start = time.process_time()
    for _ in range(count):
        signer.add_auth(AWSRequest(method="POST", url=url, headers=headers, data=body))
    return (time.process_time() - start) / count * 1e6


def main() -> None:
    compile_program()
    # What the start of the program costs is taken away by the difference.
    each = (instructions(MANY) - instructions(FEW)) // (MANY - FEW)
    microseconds = float(subprocess.run([PROGRAM, str(COUNT)], check=True, capture_output=True, text=True).stdout)
    reference = botocore_microseconds(5_000)
    print("Signing a DynamoDB call of 1,500 bytes with a session token of 800 bytes")
    print(f"  instructions without SHA extensions, which callgrind lacks: {each:,}")
    print(f"  CPU time: {microseconds:.1f} us; botocore: {reference:.1f} us ({reference / microseconds:.1f} times)")


main()
