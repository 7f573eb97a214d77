"""A stand-in for Amazon Transcribe Streaming over WebSocket, by the service's documentation and AWS's own packages.

`presign` checks the URL with botocore, `events` reads and writes frames with the package amazon-transcribe,
`parameters` and `rules` are what the service refuses, `blocks` and `words` hear, `faults` and `breakage` are what a
test orders to go wrong, `stream` is one stream's life, `server` and `control` are the two ports.
"""
