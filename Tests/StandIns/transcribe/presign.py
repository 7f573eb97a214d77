"""The presigned URL of a handshake, checked by signing it again with botocore."""

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

PATH = "/stream-transcription-websocket"
SERVICE = "transcribe"
LONGEST_EXPIRY_SECONDS = 300
# How far a client's clock may be ahead.
CLOCK_TOLERANCE = timedelta(minutes=5)
TIMESTAMP = "%Y%m%dT%H%M%SZ"
SIGNING_PARAMETERS = {
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
}  # fmt: skip
TOKEN_PARAMETER = "X-Amz-Security-Token"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
UNKNOWN = "The security token included in the request is invalid."


@dataclass(frozen=True)
class AccessKey:
    """A key pair that this stand-in knows; with a token it is a temporary one."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Presigned:
    """What a valid URL says."""

    parameters: dict[str, str]
    key: AccessKey
    region: str
    # Hexadecimal; the first of the chain when chunks are signed.
    signature: str


class Refused(Exception):
    """The handshake is to be answered with this status and error instead of 101."""

    def __init__(self, status: int, error_type: str, message: str):
        super().__init__(f"{status} {error_type}: {message}")
        self.status, self.error_type, self.message = status, error_type, message


def verify(target: str, host: str, keys: tuple[AccessKey, ...], region: str, now: datetime | None = None) -> Presigned:
    """Reads a request target (path and query) that was sent with this Host header; `Refused` says what is wrong."""
    parameters = _parameters(target)
    if missing := sorted(SIGNING_PARAMETERS - parameters.keys()):
        raise Refused(403, "MissingAuthenticationTokenException", f"Missing in the URL: {', '.join(missing)}")
    key = _known_key(parameters, keys, region)
    _check_time(parameters, now or datetime.now(timezone.utc))
    expected = _signature(parameters, host, key, region)
    if not hmac.compare_digest(expected, parameters["X-Amz-Signature"]):
        raise Refused(403, "InvalidSignatureException", MISMATCH)
    own = {
        name: value
        for name, value in parameters.items()
        if name not in SIGNING_PARAMETERS and name != TOKEN_PARAMETER
    }
    return Presigned(own, key, region, expected)


def canonical_request_and_signature(
    parameters: dict[str, str], host: str, key: AccessKey, region: str
) -> tuple[str, str]:
    """What botocore makes of these parameters, those of the signature included but for itself."""
    signed = {name: value for name, value in parameters.items() if name != "X-Amz-Signature"}
    # With http botocore leaves out port 80, with https port 443: the host is signed as it was sent.
    request = AWSRequest(method="GET", url=f"https://{host}{PATH}", headers={"host": host}, params=signed)
    request.context["timestamp"] = parameters["X-Amz-Date"]
    signer = SigV4QueryAuth(Credentials(key.id, key.secret, key.token), SERVICE, region)
    canonical = signer.canonical_request(request)
    return canonical, signer.signature(signer.string_to_sign(request, canonical), request)


def _signature(parameters: dict[str, str], host: str, key: AccessKey, region: str) -> str:
    return canonical_request_and_signature(parameters, host, key, region)[1]


def _parameters(target: str) -> dict[str, str]:
    parts = urlsplit(target)
    if parts.path != PATH:
        raise Refused(404, "UnknownOperationException", f"No such path: {quote(parts.path)}")
    found: dict[str, str] = {}
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        name = unquote(name)
        if name in found:
            raise Refused(400, "BadRequestException", f"{name} is given twice")
        # A plus is a plus: in a URL signed for AWS a blank is %20.
        found[name] = unquote(value)
    return found


def _known_key(parameters: dict[str, str], keys: tuple[AccessKey, ...], region: str) -> AccessKey:
    if parameters["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise Refused(403, "InvalidSignatureException", "X-Amz-Algorithm must be AWS4-HMAC-SHA256")
    if parameters["X-Amz-SignedHeaders"] != "host":
        raise Refused(403, "InvalidSignatureException", "X-Amz-SignedHeaders must be host")
    scope = parameters["X-Amz-Credential"].split("/")
    expected = [parameters["X-Amz-Date"][:8], region, SERVICE, "aws4_request"]
    if scope[1:] != expected:
        raise Refused(403, "InvalidSignatureException", f"Credential should be scoped to {'/'.join(expected)}")
    for key in keys:
        if key.id == scope[0] and key.token == parameters.get(TOKEN_PARAMETER):
            return key
    raise Refused(403, "UnrecognizedClientException", UNKNOWN)


def _check_time(parameters: dict[str, str], now: datetime) -> None:
    try:
        signed_at = datetime.strptime(parameters["X-Amz-Date"], TIMESTAMP).replace(tzinfo=timezone.utc)
        lifetime = int(parameters["X-Amz-Expires"])
    except ValueError as error:
        raise Refused(403, "InvalidSignatureException", str(error)) from None
    if not 1 <= lifetime <= LONGEST_EXPIRY_SECONDS:
        limits = f"between 1 and {LONGEST_EXPIRY_SECONDS} seconds"
        raise Refused(403, "InvalidSignatureException", f"X-Amz-Expires must be {limits}")
    if now > signed_at + timedelta(seconds=lifetime):
        raise Refused(403, "InvalidSignatureException", f"Signature expired: it was valid for {lifetime} seconds")
    if signed_at > now + CLOCK_TOLERANCE:
        raise Refused(403, "InvalidSignatureException", f"Signature not yet current: {parameters['X-Amz-Date']}")
