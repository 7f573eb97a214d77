import EventLoops

/// An HTTP/1.1 and HTTP/2 client over libcurl: one multi handle on a thread of its own, which all transfers share, with
/// its connections.
///
/// What is always so: certificates and host names are checked (TLS 1.2 and later); paths and queries are sent byte for
/// byte; nothing is added to a request but `Host` and `Content-Length`; redirects are not followed; there are no
/// cookies; proxies that the environment names (`https_proxy`, `all_proxy`) are not used, so that it depends on nothing
/// but its options where requests go.
///
/// A request is handed to a connection once. libcurl would repeat one by itself if a connection that it had used before
/// is closed without an answer, whatever the method; here that is an error (code 52), because the server may have
/// acted on it, and only the caller knows what may be repeated.
///
/// Its owner calls `close()` once; any task may call the rest.
public final class HTTPClient: HTTPTransport {
    private let loop: TransferLoop

    /// Starts the thread.
    ///
    /// - Throws: `CurlError` if curl cannot start, or the file of authorities cannot be read.
    public init(options: Options = Options()) throws(CurlError) {
        loop = try TransferLoop(options: options)
    }

    deinit { loop.requestClosing() }

    /// Sends a request once and gives the response, of whatever status.
    ///
    /// Time counts from the call: waiting for a turn is part of `TransferRequest.timeout`. Trailers are left out.
    ///
    /// - Throws: `CurlError`, whose `wasNotSent` is true if no connection had been given the request, so that it cannot
    ///   have reached the server; `CancellationError` if the task was cancelled, after which nothing is known of the
    ///   request.
    public func send(_ request: TransferRequest) async throws -> TransferResponse {
        try Task.checkCancellation()
        let checked = try CheckedRequest(request)
        let deadline = ContinuousClock.now + request.timeout
        let id = loop.nextTransfer()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                loop.submit(Submission(id: id, request: checked, deadline: deadline, continuation: continuation))
                // The handler may have run before there was anything to cancel.
                if Task.isCancelled { loop.cancel(id) }
            }
        } onCancel: {
            loop.cancel(id)
        }
    }

    /// Fails what waits and what is under way, closes all connections, ends the thread and frees everything.
    ///
    /// Calls of `send` after it throw a `CurlError` of code 0. Calling it again waits for the same end.
    public func close() async { await loop.close() }

    /// A reading of the counters. Any thread may call it.
    public var statistics: HTTPClientStatistics { loop.statistics }
}
