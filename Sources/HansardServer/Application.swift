import Crypto
import EventLoops
import Foundation
import Hansard
public import Logging
import Postgres
import Synchronization
import Web

/// A running node: everything that `hansard serve` and `hansard dev` start, and in which order it stops. Tests start
/// one in their own process.
public final class Application: Sendable {
    /// The version of this program, as in CHANGELOG.md: what `--version` prints and nodes tell each other.
    public static let version = "0.1.0"

    /// Where it serves, `http://host:port`.
    public let url: String
    /// Where it serves the admin API; `url` unless that has a listener of its own.
    public let adminURL: String

    let parts: Parts
    private let server: WebServer
    private let adminServer: WebServer?
    private let loops: [EventLoop]
    private let tasks: [Task<Void, Never>]
    private let settings: Settings
    private let logger: Logger
    private let isStopped = Atomic<Bool>(false)

    /// Starts a node; it accepts connections when this returns.
    ///
    /// The database must have been migrated.
    ///
    /// - Throws: `HansardError`, `PostgresError` or `WebServerError`, saying what to change.
    public static func start(settings: Settings, logger: Logger) async throws -> Application {
        let parts = try await Parts.make(settings: settings, logger: logger)
        var loops: [EventLoop] = []
        do {
            forwardWebLog(to: logger)
            for number in 0..<settings.eventLoops { loops.append(try EventLoop(name: "loop-\(number)")) }
            let planes: Set<Parts.Plane> = settings.adminListen == nil ? [.tenant, .admin] : [.tenant]
            // First, so that whoever finds the node ready finds its operators' side as well.
            let adminServer = try await startAdminServer(parts, settings, loops)
            let server: WebServer
            do {
                server = try await WebServer.start(
                    configuration: webConfiguration(settings), loops: loops,
                    responder: parts.router(loops: loops, planes: planes),
                    acceptor: ListenAcceptor(services: parts.services))
            } catch {
                await adminServer?.stop()
                throw error
            }
            return Application(
                parts: parts, server: server, adminServer: adminServer, loops: loops, settings: settings,
                logger: logger)
        } catch {
            // A node that never served must not be there for its peers to reap.
            await parts.life.end()
            stop(loops)
            await parts.stop()
            throw error
        }
    }

    private static func startAdminServer(
        _ parts: Parts, _ settings: Settings, _ loops: [EventLoop]
    ) async throws(WebServerError) -> WebServer? {
        guard let address = settings.adminListen else { return nil }
        var configuration = webConfiguration(settings)
        configuration.listen = address
        return try await WebServer.start(
            configuration: configuration, loops: loops, responder: parts.router(loops: loops, planes: [.admin]),
            acceptor: NoWebSockets())
    }

    private init(
        parts: Parts, server: WebServer, adminServer: WebServer?, loops: [EventLoop], settings: Settings, logger: Logger
    ) {
        self.parts = parts
        self.server = server
        self.adminServer = adminServer
        self.loops = loops
        self.settings = settings
        self.logger = logger
        parts.serverCounters.set(server)
        let scheme = settings.tls == nil ? "http" : "https"
        url = "\(scheme)://\(SocketAddress(host: settings.listen.host, port: server.port))"
        if let address = settings.adminListen, let adminServer {
            adminURL = "\(scheme)://\(SocketAddress(host: address.host, port: adminServer.port))"
        } else {
            adminURL = url
        }
        tasks = [
            Task { await parts.access.keepFresh() },
            Task { await parts.life.live() },
            Task { await parts.audit.run() },
            Task { await parts.keepStatingLimits() },
            Task { await parts.erasure.run() },
            Task { await parts.pruning.run() },
            Task { if let events = parts.events { await events.run() } },
            Task { await parts.auditHeads.run() },
            Task { await parts.services.minutes.run() },
            Task { await parts.services.keyUse.keepWriting(to: parts.admin.services.pool, logger: logger) },
            Task { await parts.services.settlement.work() },
            Task { await parts.services.usage.work() },
        ]
        logger.notice(
            "serving",
            metadata: [
                "url": "\(url)", "admin_url": "\(adminURL)", "node": "\(parts.services.node.epoch)",
                "version": "\(Self.version)",
            ])
    }

    /// Stops in order: no new sessions, the live ones end by themselves or at the drain deadline, what they leave is
    /// stored, then sockets, stores and threads. Calling it again does nothing.
    public func stop() async {
        guard !isStopped.exchange(true, ordering: .relaxed) else { return }
        logger.notice(
            "stopping",
            metadata: [
                "sessions": "\(parts.services.sessions.count)", "drain_deadline": "\(settings.drainDeadline)",
            ])
        // Until the last session has ended, those who come are told 503 and when to come again.
        parts.services.sessions.startDraining()
        if await !parts.services.sessions.waitUntilEmpty(within: settings.drainDeadline) {
            parts.services.sessions.endAll(.nodeRestarting)
            _ = await parts.services.sessions.waitUntilEmpty(within: .seconds(10))
        }
        await server.stop()
        await adminServer?.stop()
        tasks.forEach { $0.cancel() }
        for task in tasks { await task.value }
        // What was metered first: the spool forgets a session when both have it.
        await parts.services.usage.finish()
        await parts.services.settlement.finish()
        await parts.events?.stop()
        await parts.auditHeads.stop()
        // While a slot could not be given back, peers must be able to find and free it.
        if await parts.services.settlement.backlog == 0 { await parts.life.end() }
        Self.stop(loops)
        await parts.stop()
        logger.notice("stopped")
    }

    private static func stop(_ loops: [EventLoop]) {
        for loop in loops {
            loop.stop()
            loop.join()
        }
    }

    private static func webConfiguration(_ settings: Settings) -> WebServerConfiguration {
        var limits = WebLimits()
        limits.handshakesPerAddressPerSecond = settings.handshakesPerAddress
        limits.handshakeBurst = settings.handshakeBurst
        limits.maxConnections = settings.maxConnections
        return WebServerConfiguration(
            listen: settings.listen, tls: settings.tls, trustedProxies: settings.trustedProxies, limits: limits)
    }

    private static func forwardWebLog(to logger: Logger) {
        WebLog.setSink { level, message in
            logger.log(level: level == .error ? .warning : .debug, "\(message)", source: "web")
        }
    }
}

/// For a listener that serves REST alone.
private struct NoWebSockets: WebSocketAcceptor {
    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision {
        .refuse(HTTPResponse(status: 404, text: "there is no WebSocket here"))
    }
}
