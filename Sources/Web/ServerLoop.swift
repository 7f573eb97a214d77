internal import CLibwebsockets
internal import EventLoops
import Foundation
internal import Synchronization

/// What all loops of one server share.
final class ServerShared: Sendable {
    let counters = TransportCounters()
    private let limiter: Locked<AddressLimiter?>
    private let start = ContinuousClock.now

    init(_ limits: WebLimits) {
        limiter = Locked(
            limits.handshakesPerAddressPerSecond.map { AddressLimiter(rate: $0, burst: limits.handshakeBurst) }
        )
    }

    func verdict(on address: IPAddress) -> AddressLimiter.Verdict {
        limiter.withLock { limiter in
            limiter?.connectionCame(from: address, at: ContinuousClock.now - start) ?? .allowed
        }
    }
}

/// The part of a server that lives on one loop: its context, its listening socket and its connections.
final class ServerLoop {
    /// What the one protocol is called when no handshake is going on; no client offers it.
    static let protocolName = "."
    private static let acceptedPerTurn = 64

    let loop: EventLoop
    let configuration: WebServerConfiguration
    let responder: any HTTPResponder
    let acceptor: any WebSocketAcceptor
    let shared: ServerShared
    let library: LibraryContext
    let scratch = SendScratch()
    private(set) var isStopping = false

    private var listener: FileDescriptorWatch?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    private var proxied: [ObjectIdentifier: ProxiedSocket] = [:]
    private var stopWaiters: [() -> Void] = []
    private var isRetired = false

    var limits: WebLimits { configuration.limits }
    var counters: TransportCounters { shared.counters }
    var isTLS: Bool { configuration.tls != nil }

    init(
        loop: EventLoop,
        configuration: WebServerConfiguration,
        responder: any HTTPResponder,
        acceptor: any WebSocketAcceptor,
        shared: ServerShared
    ) throws(WebServerError) {
        self.loop = loop
        self.configuration = configuration
        self.responder = responder
        self.acceptor = acceptor
        self.shared = shared
        let settings = LibraryContext.Settings(
            protocolName: ServerLoop.protocolName,
            callback: serverCallback,
            maxHeaderBytes: configuration.limits.maxHeaderBytes,
            scratchBytes: max(8_192, configuration.limits.maxAcceptHeaderBytes + 4_096),
            tls: configuration.tls
        )
        library = try LibraryContext(settings, on: loop)
    }

    // MARK: Accepting

    /// Takes ownership of the descriptor.
    func listen(on descriptor: Int32) throws(EventLoopError) {
        listener = try loop.watch(fileDescriptor: descriptor, events: [.readable]) { [weak self] _ in
            self?.acceptWaiting(descriptor)
        }
    }

    func stopAccepting() {
        guard let listener else { return }
        self.listener = nil
        listener.cancel()
        Foundation.close(listener.fileDescriptor)
    }

    private func acceptWaiting(_ descriptor: Int32) {
        for _ in 0..<ServerLoop.acceptedPerTurn {
            guard let (accepted, peer) = ListeningSocket.accept(descriptor) else {
                // Without descriptors the waiting connection would be reported again at once, and for nothing.
                if [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(errno) { restAccepting() }
                return
            }
            guard let peer else {
                Foundation.close(accepted)
                continue
            }
            counters.accepted.add(1, ordering: .relaxed)
            if counters.open.load(ordering: .relaxed) >= limits.maxConnections {
                counters.refusedByConnectionLimit.add(1, ordering: .relaxed)
                Foundation.close(accepted)
                continue
            }
            counters.open.add(1, ordering: .relaxed)
            if configuration.trustedProxies.contains(where: { $0.contains(peer.address) }) {
                awaitProxyHeader(accepted, from: peer)
            } else {
                adopt(accepted, from: peer)
            }
        }
    }

    private func restAccepting() {
        listener?.update([])
        loop.schedule(after: .milliseconds(100)) { [weak self] in self?.listener?.update([.readable]) }
    }

    private func awaitProxyHeader(_ descriptor: Int32, from proxy: PeerAddress) {
        let socket = ProxiedSocket(descriptor, loop: loop, timeout: limits.proxyHeaderTimeout)
        proxied[ObjectIdentifier(socket)] = socket
        socket.start { [weak self, unowned socket] outcome in
            guard let self else { return }
            proxied[ObjectIdentifier(socket)] = nil
            switch outcome {
            case .header(let header): adopt(descriptor, from: header.source ?? proxy)
            case .failed:
                counters.badProxyHeaders.add(1, ordering: .relaxed)
                counters.open.subtract(1, ordering: .relaxed)
                Foundation.close(descriptor)
                finishStoppingIfIdle()
            }
        }
    }

    private func adopt(_ descriptor: Int32, from peer: PeerAddress) {
        var retryAfter: Int?
        switch shared.verdict(on: peer.address) {
        case .allowed: break
        case .refused(let seconds): retryAfter = seconds
        case .dropped: retryAfter = 0
        }
        if retryAfter != nil { counters.refusedByAddressLimit.add(1, ordering: .relaxed) }
        guard retryAfter != 0, !isStopping, let vhost = library.vhost else {
            counters.open.subtract(1, ordering: .relaxed)
            Foundation.close(descriptor)
            return
        }
        let connection = ServerConnection(server: self, peer: peer, retryAfter: retryAfter)
        connections[ObjectIdentifier(connection)] = connection
        var info = lws_adopt_desc_t()
        info.vh = vhost
        info.type = lws_adoption_type(
            rawValue: LWS_ADOPT_SOCKET.rawValue | LWS_ADOPT_HTTP.rawValue | LWS_ADOPT_ALLOW_SSL.rawValue
        )
        info.fd.sockfd = descriptor
        info.opaque = Unmanaged.passRetained(connection).toOpaque()
        // Without a result the library has closed the socket, and destroys its object later with the usual callback.
        if let wsi = lws_adopt_descriptor_vhost_via_info(&info) { connection.adopted(wsi) }
    }

    func gone(_ connection: ServerConnection) {
        connections[ObjectIdentifier(connection)] = nil
        counters.open.subtract(1, ordering: .relaxed)
        finishStoppingIfIdle()
    }

    // MARK: Stopping

    /// Ends everything: what waits for a request at once, the rest when it is done or after `grace`.
    func stop(grace: Duration, _ done: @escaping () -> Void) {
        if isRetired { return done() }
        stopWaiters.append(done)
        if isStopping { return }
        isStopping = true
        stopAccepting()
        for socket in Array(proxied.values) { socket.fail() }
        for connection in Array(connections.values) { connection.serverStops() }
        loop.schedule(after: grace) { [self] in
            for connection in Array(connections.values) { connection.endNow() }
        }
        loop.schedule(after: grace + limits.closeTimeout + .seconds(1)) { [self] in retire() }
        finishStoppingIfIdle()
    }

    private func finishStoppingIfIdle() {
        if isStopping && connections.isEmpty && proxied.isEmpty { retire() }
    }

    private func retire() {
        if isRetired { return }
        isRetired = true
        // Not from inside a callback of the library, which this may be.
        loop.schedule(after: .zero) { [self] in
            library.retire()
            let waiters = stopWaiters
            stopWaiters = []
            for waiter in waiters { waiter() }
        }
    }
}
