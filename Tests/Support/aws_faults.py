"""What may befall a call to AWS on its way through a `FaultyAWS`, and which calls."""

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from aws_proxy import Condition, Exchange, Fault, Request, Response

# Conditions


def operation(*names: str) -> Condition:
    return lambda request: request.operation in names


# Faults


def lose_request(exchange: Exchange) -> Response:
    """It never reaches AWS; the connection is reset."""
    exchange.drop()


def lose_reply(exchange: Exchange) -> Response:
    """AWS has done it, and the client does not learn so: the connection is reset."""
    exchange.forward()
    exchange.drop()


def captive_portal(exchange: Exchange) -> Response:
    """Not done; whoever stands between answers with success, and a page for people."""
    page = (("Content-Type", "text/html"), ("ETag", '"5f3a-264"'))
    return Response(200, page, b"<html>please log in</html>")


def captive_redirect(exchange: Exchange) -> Response:
    """Not done; whoever stands between sends elsewhere."""
    return Response(302, (("Location", "http://127.0.0.1:1/login?session=x"),), b"<html>please log in</html>")


def hang(exchange: Exchange) -> Response:
    """Neither done nor answered for as long as the fault lasts, then the connection is reset."""
    exchange.wait()
    exchange.drop()


def hang_after_commit(exchange: Exchange) -> Response:
    """AWS has done it; the client waits for as long as the fault lasts, then the connection is reset."""
    exchange.forward()
    exchange.wait()
    exchange.drop()


def slow_reply(seconds: float) -> Fault:
    """Done at once, answered late."""

    def fault(exchange: Exchange) -> Response:
        response = exchange.forward()
        exchange.wait(seconds)
        return response

    return fault


def late_request(seconds: float) -> Fault:
    """Done late, even if the client has long given up: what a tombstone is there for."""

    def fault(exchange: Exchange) -> Response:
        exchange.wait(seconds)
        return exchange.forward()

    return fault


def error(status: int, code: str, message: str = "injected", **details: str) -> Fault:
    """Not done; answered with an error in the service's own format."""

    def fault(exchange: Exchange) -> Response:
        return error_response(exchange.request, status, code, message, details)

    return fault


def throttle(exchange: Exchange) -> Response:
    """Not done; AWS asks for fewer calls."""
    if exchange.request.service == "dynamodb":
        message = "Throughput exceeds the current throughput limit for your account."
        return error_response(exchange.request, 400, "ThrottlingException", message)
    return error_response(exchange.request, 503, "SlowDown", "Please reduce your request rate.")


def transaction_conflict(exchange: Exchange) -> Response:
    """Not done; every write of the transaction has met another transaction, as DynamoDB says it."""
    count = len(json.loads(exchange.request.body).get("TransactItems", []))
    if exchange.request.operation != "TransactWriteItems":
        message = "Transaction is ongoing for the item"
        return error_response(exchange.request, 400, "TransactionConflictException", message)
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}] * count
    listed = ", ".join(["TransactionConflict"] * count)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{listed}]"
    return error_response(
        exchange.request, 400, "TransactionCanceledException", message, {"CancellationReasons": reasons}
    )


def expired_token(exchange: Exchange) -> Response:
    """Not done; the session's credentials are said to have expired."""
    if exchange.request.service == "dynamodb":
        message = "The security token included in the request is expired"
        return error_response(exchange.request, 400, "ExpiredTokenException", message)
    return error_response(exchange.request, 400, "ExpiredToken", "The provided token has expired.")


def other_region(region: str) -> Fault:
    """What S3 says of a bucket in this region to requests signed for another; ministack redirects them (301)."""

    def fault(exchange: Exchange) -> Response:
        signed_for = (exchange.request.credential + ["?"] * 3)[2]
        if signed_for == region:
            return exchange.forward()
        message = f"The authorization header is malformed; the region '{signed_for}' is wrong; expecting '{region}'"
        details = {"Region": region}
        return error_response(exchange.request, 400, "AuthorizationHeaderMalformed", message, details)

    return fault


def clock(ahead: timedelta, tolerance: timedelta = timedelta(minutes=5)) -> Fault:
    """AWS's clock is this far ahead of ours: it says so in `Date`, and takes no signature that is off by more."""

    def fault(exchange: Exchange) -> Response:
        now = datetime.now(timezone.utc) + ahead
        signed = exchange.request.signed_at
        if signed is not None and abs(now - signed) > tolerance:
            response = _skewed(exchange.request, signed, now, tolerance)
        else:
            response = exchange.forward()
        dates = [(name, value) for name, value in response.headers if name.lower() != "date"]
        return Response(response.status, (*dates, ("Date", format_datetime(now, usegmt=True))), response.body)

    return fault


def _skewed(request: Request, signed: datetime, now: datetime, tolerance: timedelta) -> Response:
    """As DynamoDB and S3 word it."""
    if request.service == "s3":
        details = {
            "RequestTime": f"{signed:%Y%m%dT%H%M%SZ}",
            "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "MaxAllowedSkewMilliseconds": str(round(tolerance.total_seconds() * 1000)),
        }
        message = "The difference between the request time and the current time is too large."
        return error_response(request, 403, "RequestTimeTooSkewed", message, details)
    edge = now - tolerance if signed < now else now + tolerance
    at, limit, time = (f"{moment:%Y%m%dT%H%M%SZ}" for moment in (signed, edge, now))
    minutes = round(tolerance.total_seconds() / 60)
    if signed < now:
        message = f"Signature expired: {at} is now earlier than {limit} ({time} - {minutes} min.)"
    else:
        message = f"Signature not yet current: {at} is still later than {limit} ({time} + {minutes} min.)"
    return error_response(request, 400, "InvalidSignatureException", message)


def error_response(request: Request, status: int, code: str, message: str, details: dict | None = None) -> Response:
    """An error in the format of the service that was asked."""
    if request.service == "dynamodb":
        kind = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
        body = json.dumps(kind | (details or {})).encode()
        return Response(status, (("Content-Type", "application/x-amz-json-1.0"),), body)
    elements = "".join(f"<{name}>{value}</{name}>" for name, value in (details or {}).items())
    text = f"<Code>{code}</Code><Message>{message}</Message>{elements}"
    if request.service == "sts":
        xml = f"<ErrorResponse><Error><Type>Sender</Type>{text}</Error><RequestId>injected</RequestId></ErrorResponse>"
    else:
        xml = f"<Error>{text}<RequestId>injected</RequestId></Error>"
    body = b"" if request.method == "HEAD" else f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'.encode()
    return Response(status, (("Content-Type", "application/xml"),), body)
