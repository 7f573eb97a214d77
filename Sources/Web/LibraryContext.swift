internal import CLibwebsockets
internal import EventLoops
import Foundation

/// What libwebsockets calls for everything that happens.
typealias LibraryCallback =
    @convention(c) (
        OpaquePointer?, lws_callback_reasons, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int
    ) -> Int32

/// One `lws_context` on one event loop: made and used on the loop's thread.
///
/// libwebsockets keeps pointers to what it was created with, so that memory is never freed (about 200 bytes per context).
final class LibraryContext {
    /// What sets one context apart from another.
    struct Settings {
        var protocolName: String
        var callback: LibraryCallback
        var owner: UnsafeMutableRawPointer?
        var maxHeaderBytes = 8_192
        var scratchBytes = 8_192
        var tls: TLSFiles?
        var clientAuthorities: String?
        var isServer = true
    }

    let loop: EventLoop
    /// The name under which the one protocol is known; the server changes it during a handshake.
    let protocolName: UnsafeMutablePointer<CChar>
    static let protocolNameCapacity = 64
    private let pointer: UnsafeMutablePointer<OpaquePointer?>

    var context: OpaquePointer? { pointer.pointee }
    private(set) var vhost: OpaquePointer?

    init(_ settings: Settings, on loop: EventLoop) throws(WebServerError) {
        loop.preconditionIsCurrent()
        self.loop = loop
        protocolName = .allocate(capacity: LibraryContext.protocolNameCapacity)
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: nil)
        write(name: settings.protocolName)
        prepareProcess()
        var files = KeptStrings()
        var info = lws_context_creation_info()
        info.port = settings.isServer ? CONTEXT_PORT_NO_LISTEN_SERVER : CONTEXT_PORT_NO_LISTEN
        info.protocols = UnsafePointer(makeProtocols(settings))
        info.vhost_name = files.keep("hansard")
        info.user = settings.owner
        info.max_http_header_data2 = UInt32(clamping: min(settings.maxHeaderBytes, 65_535))
        info.pt_serv_buf_size = UInt32(clamping: settings.scratchBytes)
        // Deadlines are ours; the library's own, which are counted in whole seconds, are only a backstop.
        info.timeout_secs = 3_600
        info.keepalive_timeout = 3_600
        info.retry_and_idle_policy = neverPing
        info.pcontext = pointer
        info.alpn = files.keep("http/1.1")
        info.ssl_options_set = clws_no_old_tls()
        info.ssl_client_options_set = clws_no_old_tls()
        if let tls = settings.tls {
            info.ssl_cert_filepath = files.keep(tls.certificate)
            info.ssl_private_key_filepath = files.keep(tls.key)
        }
        if let authorities = settings.clientAuthorities { info.client_ssl_ca_filepath = files.keep(authorities) }
        let loops = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: 1)
        loops.initialize(to: loop.rawLoop)
        info.foreign_loops = loops
        // Creation touches what all contexts of the process share. OpenSSL is set up with the first alone: doing it again changes a
        // global index under which handshakes that are going on in other contexts look themselves up, and they fail (measured).
        let made = contextCreation.withLock { contexts in
            info.options = clws_context_options(contexts.isEmpty ? 1 : 0)
            let context = lws_create_context(&info)
            if context != nil { contexts.append(UInt(bitPattern: context)) }
            info.options = clws_vhost_options()
            return (UInt(bitPattern: context), UInt(bitPattern: context.flatMap { lws_create_vhost($0, &info) }))
        }
        pointer.pointee = OpaquePointer(bitPattern: made.0)
        vhost = OpaquePointer(bitPattern: made.1)
        guard vhost != nil else {
            throw WebServerError("libwebsockets could not make a context; its log says why (WebLog)")
        }
    }

    private func makeProtocols(_ settings: Settings) -> UnsafeMutablePointer<lws_protocols> {
        let protocols = UnsafeMutablePointer<lws_protocols>.allocate(capacity: 2)
        protocols.initialize(repeating: lws_protocols(), count: 2)
        protocols[0].name = UnsafePointer(protocolName)
        protocols[0].callback = settings.callback
        protocols[0].rx_buffer_size = 4_096
        // Unset, one send would be capped at `rx_buffer_size`, and a frame of audio would take two (measured).
        protocols[0].tx_packet_size = 1 << 20
        return protocols
    }

    /// Renames the protocol. Names that do not fit leave it empty.
    func write(name: String) {
        protocolName.initialize(repeating: 0, count: LibraryContext.protocolNameCapacity)
        if name.utf8.count >= LibraryContext.protocolNameCapacity { return }
        for (index, byte) in name.utf8.enumerated() { protocolName[index] = CChar(bitPattern: byte) }
    }

    /// Lets the context rest, without connections, until the process ends. It is not destroyed, for a reason:
    ///
    /// On libuv, `lws_context_destroy` of 4.1.6 closes the descriptor by which the context is woken up twice, in
    /// `lws_destroy_event_pipe` and, a turn later, in `__lws_close_free_wsi_final`. Whatever another thread has opened in between under the same
    /// number is closed under its feet: measured as aborts of other loops and as sockets of other threads that fell silent.
    /// A server is stopped when the process ends, so that resting costs nothing that matters.
    func retire() {
        loop.preconditionIsCurrent()
        vhost = nil
    }
}

/// One context is made at a time in the process. All that were made are remembered, since none is destroyed: what is
/// remembered is no leak.
private let contextCreation = Locked<[UInt]>([])

/// Pings are ours (`KeepAlive`), because the library's hang up on a peer whose pongs we have not read. All zero means never.
nonisolated(unsafe) private let neverPing: UnsafePointer<lws_retry_bo_t> = {
    let policy = UnsafeMutablePointer<lws_retry_bo_t>.allocate(capacity: 1)
    policy.initialize(to: lws_retry_bo_t())
    return UnsafePointer(policy)
}()

/// Strings whose pointers a library keeps: they are never freed.
private struct KeptStrings {
    mutating func keep(_ text: String) -> UnsafePointer<CChar>? { strdup(text).map { UnsafePointer($0) } }
}

/// What has to hold in the process before the first context is made; done once.
private func prepareProcess() { _ = preparedProcess }

private let preparedProcess: Void = {
    signal(SIGPIPE, SIG_IGN)  // A write to a closed socket is an error value, not the end of the process.
    WebLog.install()
    // The library sizes its table of connections by the soft limit, so it has to be right before the first context;
    // beyond a million the table alone would be tens of megabytes.
    let most: rlim_t = 1 << 20
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = min(limit.rlim_max, most)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}()
