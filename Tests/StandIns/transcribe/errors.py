"""What the service tells a client when it ends a stream."""

# What the service says, where its wording is known; else a sentence of our own.
MESSAGES = {
    "BadRequestException": "The request was not valid.",
    "ConflictException": "A new stream started with the same session ID. The current stream has been terminated.",
    "InternalFailureException": "A problem occurred while processing the audio. Amazon Transcribe terminated "
    "processing.",
    "LimitExceededException": "Your client has exceeded one of the Amazon Transcribe limits. This is typically the "
    "audio length limit. Break your audio stream into smaller chunks and try your request again.",
    "SerializationException": "Could not deserialize the frame.",
    "ServiceUnavailableException": "The service is currently unavailable. Try your request later.",
    "UnrecognizedClientException": "The security token included in the request is invalid.",
}


class ServiceException(Exception):
    """Ends a stream with an exception frame; `type` is its `:exception-type`."""

    def __init__(self, type: str, message: str | None = None):
        self.type = type
        self.message = MESSAGES.get(type, type) if message is None else message
        super().__init__(f"{type}: {self.message}")


class BadRequest(ServiceException):
    def __init__(self, message: str):
        super().__init__("BadRequestException", message)


class IdleTooLong(BadRequest):
    """No new audio came; the one BadRequestException after which a client may simply start again."""

    def __init__(self, seconds: float):
        super().__init__(f"Your request timed out because no new audio was received for {seconds:g} seconds.")
