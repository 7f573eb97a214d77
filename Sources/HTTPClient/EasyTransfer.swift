internal import CCurl
import Glibc

/// One transfer under way: the owner of its easy handle, used on `TransferLoop`'s thread alone.
///
/// The loop keeps it, at one address, from `start` until it has taken the handle out of the multi handle.
final class EasyTransfer {
    /// What was asked for and who waits for it.
    let submission: Submission
    /// The easy handle, which curl's messages name.
    let handle: UnsafeMutableRawPointer

    private let options: HTTPClient.Options
    private var reply: ReplyAssembly
    private var sending = SingleSend()
    private var headerList: UnsafeMutablePointer<curl_slist>?
    /// curl does not copy a body, and an array has no fixed address.
    private let body: UnsafeMutableRawBufferPointer
    private let errorText: UnsafeMutableBufferPointer<CChar>
    private var setUpCode = CURLE_OK

    /// - Returns: nil without memory.
    init?(_ submission: Submission, options: HTTPClient.Options) {
        guard let handle = curl_easy_init() else { return nil }
        self.handle = handle
        self.submission = submission
        self.options = options
        reply = ReplyAssembly(
            maximumHeaderBytes: options.maximumHeaderBytes,
            maximumBodyBytes: submission.request.maximumResponseBytes)
        // Never empty: without an address curl would ask a callback for the body.
        body = .allocate(byteCount: submission.request.body.count + 1, alignment: 1)
        body.copyBytes(from: submission.request.body)
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0)
    }

    deinit {
        curl_easy_cleanup(handle)
        curl_slist_free_all(headerList)
        body.deallocate()
        errorText.deallocate()
    }

    /// Sets all options and adds the handle to `multi`.
    ///
    /// - Returns: what failed, which is memory or an option that this curl does not have.
    func start(in multi: UnsafeMutableRawPointer) -> CurlError? {
        setConnection()
        setTrust()
        setRequest()
        setCallbacks()
        if setUpCode == CURLE_OK, curl_multi_add_handle(multi, handle) != CURLM_OK { setUpCode = CURLE_FAILED_INIT }
        if setUpCode == CURLE_OK { return nil }
        return error(code: Int32(setUpCode.rawValue), String(cString: curl_easy_strerror(setUpCode)))
    }

    // MARK: Options

    private func setConnection() {
        set(CURLOPT_NOSIGNAL, 1)
        // Otherwise the removal of a handle whose name is still looked up waits for the resolver, and all transfers
        // with it.
        set(CURLOPT_QUICK_EXIT, 1)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_PROXY, "")
        set(CURLOPT_NETRC, Int(CURL_NETRC_IGNORED.rawValue))
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_HTTP09_ALLOWED, 0)
        set(CURLOPT_HTTP_VERSION, Int(options.offersHTTP2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1))
        set(CURLOPT_CONNECTTIMEOUT_MS, max(1, options.connectTimeout.wholeMilliseconds))
        set(CURLOPT_MAXAGE_CONN, max(1, Int(clamping: options.idleConnectionAge.components.seconds)))
        set(CURLOPT_TCP_NODELAY, 1)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_TCP_KEEPIDLE, 30)
        set(CURLOPT_TCP_KEEPINTVL, 10)
    }

    private func setTrust() {
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        if let file = options.authoritiesFile {
            // The system's authorities are then looked up one by one in curl's own folder of them.
            set(CURLOPT_CAINFO, file)
        } else {
            // With a folder besides its file, curl reads the whole file again for each connection
            // (https://curl.se/libcurl/c/CURLOPT_CA_CACHE_TIMEOUT.html).
            record(ccurl_set_string(handle, CURLOPT_CAPATH, nil))
        }
    }

    private func setRequest() {
        let request = submission.request
        set(CURLOPT_URL, request.url)
        set(CURLOPT_PATH_AS_IS, 1)
        if request.announcesBody {
            set(CURLOPT_POST, 1)
            record(ccurl_set_pointer(handle, CURLOPT_POSTFIELDS, body.baseAddress))
            record(ccurl_set_offset(handle, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count)))
        } else if request.method == "HEAD" {
            set(CURLOPT_NOBODY, 1)
        }
        if request.method != "HEAD" { set(CURLOPT_CUSTOMREQUEST, request.method) }
        for line in request.headerLines {
            guard let longer = curl_slist_append(headerList, line) else { return record(CURLE_OUT_OF_MEMORY) }
            headerList = longer
        }
        record(ccurl_set_pointer(handle, CURLOPT_HTTPHEADER, headerList))
    }

    private func setCallbacks() {
        let me = Unmanaged.passUnretained(self).toOpaque()
        // The loop finds the transfer by it.
        record(ccurl_set_pointer(handle, CURLOPT_PRIVATE, UnsafeMutableRawPointer(bitPattern: UInt(submission.id))))
        record(ccurl_set_pointer(handle, CURLOPT_ERRORBUFFER, errorText.baseAddress))
        record(ccurl_set_pointer(handle, CURLOPT_HEADERDATA, me))
        record(ccurl_set_pointer(handle, CURLOPT_WRITEDATA, me))
        record(ccurl_set_pointer(handle, CURLOPT_PREREQDATA, me))
        record(
            ccurl_set_callback(handle, CURLOPT_HEADERFUNCTION) { bytes, size, count, me in
                EasyTransfer.from(me).headerLineArrived(UnsafeRawBufferPointer(start: bytes, count: size * count))
            })
        record(
            ccurl_set_callback(handle, CURLOPT_WRITEFUNCTION) { bytes, size, count, me in
                EasyTransfer.from(me).bodyArrived(UnsafeRawBufferPointer(start: bytes, count: size * count))
            })
        // Called each time before a request is written to a connection: also before curl repeats one by itself.
        record(
            ccurl_set_prerequest(handle) { me, _, _, _, _ in
                EasyTransfer.from(me).sending.connectionBecameReady() ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
            })
        // curl 7.88 does not, and child processes must not inherit connections.
        record(
            ccurl_set_socket_callback(handle) { _, descriptor, _ in
                fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR
            })
    }

    private func set(_ option: CURLoption, _ value: Int) { record(ccurl_set_long(handle, option, value)) }

    private func set(_ option: CURLoption, _ value: String) { record(ccurl_set_string(handle, option, value)) }

    private func record(_ code: CURLcode) { if setUpCode == CURLE_OK { setUpCode = code } }

    // MARK: Callbacks

    /// The context that `setCallbacks` gave, which the loop keeps alive.
    private static func from(_ context: UnsafeMutableRawPointer?) -> EasyTransfer {
        guard let context else { preconditionFailure("curl gives back the context that was set") }
        return Unmanaged<EasyTransfer>.fromOpaque(context).takeUnretainedValue()
    }

    /// - Returns: how many bytes were taken; another number than came ends the transfer.
    private func headerLineArrived(_ bytes: UnsafeRawBufferPointer) -> Int {
        reply.headerLineArrived(bytes) ? bytes.count : 0
    }

    private func bodyArrived(_ bytes: UnsafeRawBufferPointer) -> Int {
        let announced = offset(CURLINFO_CONTENT_LENGTH_DOWNLOAD_T)
        return reply.bodyArrived(bytes, announced: announced) ? bytes.count : 0
    }

    // MARK: Results

    /// Whether the request may have reached the server.
    var wasHandedOver: Bool { sending.wasHandedOver }

    /// What curl's result means.
    func outcome(_ code: CURLcode) -> Result<TransferResponse, CurlError> {
        if code == CURLE_OK {
            if let response = reply.response() { return .success(response) }
            return .failure(error(code: Int32(CURLE_WEIRD_SERVER_REPLY.rawValue), "the answer has no valid status"))
        }
        if sending.wasRepetitionRefused {
            let text = "the server closed a connection that was in use before, without an answer"
            return .failure(error(code: Int32(CURLE_GOT_NOTHING.rawValue), text))
        }
        switch reply.breach {
        case .headersTooLarge(let limit):
            let text = "the response's head is larger than \(limit) bytes (maximumHeaderBytes)"
            return .failure(error(code: Int32(CURLE_FILESIZE_EXCEEDED.rawValue), text))
        case .bodyTooLarge(let limit):
            let text = "the response's body is larger than \(limit) bytes (maximumResponseBytes)"
            return .failure(error(code: Int32(CURLE_FILESIZE_EXCEEDED.rawValue), text))
        case nil: break
        }
        let detail = String(decoding: errorText.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        let text = detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail
        return .failure(error(code: Int32(code.rawValue), text))
    }

    /// The time of the whole transfer is over.
    func timeoutError() -> CurlError {
        let seconds = Double(submission.request.timeout.wholeMilliseconds) / 1_000
        let progress = wasHandedOver ? "complete response (\(reply.bodyBytes) bytes of its body came)" : "connection"
        return error(code: Int32(CURLE_OPERATION_TIMEDOUT.rawValue), "no \(progress) within \(seconds) s")
    }

    /// A failure of this transfer.
    func error(code: Int32, _ text: String) -> CurlError {
        CurlError(code: code, message: "\(submission.request.authority): \(text)", wasNotSent: !wasHandedOver)
    }

    /// Adds what this transfer did.
    func addTraffic(to statistics: inout HTTPClientStatistics) {
        let head = integer(CURLINFO_REQUEST_SIZE)
        // curl counts a body of HTTP/1 with the head if it sent them together, which it does below 64 KiB.
        let isCountedWithHead =
            integer(CURLINFO_HTTP_VERSION) != Int(CURL_HTTP_VERSION_2_0) && submission.request.body.count < 64 << 10
        let sentBody = isCountedWithHead ? 0 : offset(CURLINFO_SIZE_UPLOAD_T) ?? 0
        statistics.bytesSent += head + sentBody
        statistics.bytesReceived += integer(CURLINFO_HEADER_SIZE) + (offset(CURLINFO_SIZE_DOWNLOAD_T) ?? 0)
        statistics.connectionsOpened += integer(CURLINFO_NUM_CONNECTS)
    }

    private func integer(_ info: CURLINFO) -> Int {
        var value = 0
        return ccurl_get_long(handle, info, &value) == CURLE_OK ? value : 0
    }

    /// nil if curl does not know.
    private func offset(_ info: CURLINFO) -> Int? {
        var value: curl_off_t = -1
        return ccurl_get_offset(handle, info, &value) == CURLE_OK && value >= 0 ? Int(value) : nil
    }
}

extension Duration {
    /// Rounded up, so that a wait is never shorter; at most what curl's 32 bits hold.
    var wholeMilliseconds: Int {
        let (seconds, attoseconds) = components
        guard seconds < 2_000_000 else { return 2_000_000_000 }
        return Int(seconds) * 1_000 + Int((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
