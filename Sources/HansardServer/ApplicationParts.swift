import Crypto
import EventLoops
import Foundation
import HTTPClient
import Hansard
import Logging
import Postgres
import Web

/// The counters of a web server that is started after those who read them.
final class ServerCounters: Sendable {
    private let server = Locked<WebServer?>(nil)
    func set(_ server: WebServer) { self.server.withLock { $0 = server } }
    var counters: WebServerCounters { server.withLock { $0?.counters } ?? WebServerCounters() }
}

/// Everything of a node but its sockets: made in one order, stopped in the reverse one.
struct Parts: Sendable {
    let services: ListenServices
    let access: AccessDirectory
    let life: NodeLife
    let audit: StoreAudit
    let transcripts: any TranscriptStore
    let admin: AdminPlane
    let erasure: TranscriptErasure
    let serverCounters = ServerCounters()
    let pruning: RowPruning
    /// nil where there is nowhere to send them.
    let events: UsageEventDelivery?
    let auditHeads: AuditHeads
    let requestLimits: RequestLimits
    let openAPI: [UInt8]
    let stop: @Sendable () async -> Void

    static func make(settings: Settings, logger: Logger) async throws -> Parts {
        guard let databaseURL = settings.databaseURL, !settings.secrets.isEmpty else {
            throw HansardError(.internal, "HANSARD_DATABASE_URL and HANSARD_SECRET must be resolved before the start")
        }
        let aws = try AWSStores.make(settings, logger: logger)
        let engines = try await EngineRegistry.load(settings, aws: aws, logger: logger)
        var options = ConnectionPool.Options()
        options.connections = settings.databasePool
        let pool = ConnectionPool(databaseURL, options: options)
        let metrics = Metrics()
        let unreadable = UnreadableItems(metrics: metrics, logger: logger)
        let (stores, stopStores) = try makeStores(settings, aws, pool, unreadable, logger)
        let (spool, recovery) = try Spool.open(
            folder: URL(filePath: settings.spoolFolder), maximumBytes: settings.spoolMaxBytes.bytes, logger: logger)
        let stop: @Sendable () async -> Void = {
            spool.close()
            await stopStores()
            await pool.close()
            await (engines.engines["pocketsphinx"] as? PocketSphinxEngine)?.shutdown()
        }
        do {
            return try await make(settings, metrics, logger, engines, pool, stores, spool, recovery, stop)
        } catch {
            await stop()
            throw error
        }
    }

    typealias Stores = (
        connections: any ConnectionStore & GrantStore, transcripts: any TranscriptStore & AuditHeadStore
    )

    /// The stores that settings choose, and how they are stopped.
    static func makeStores(
        _ settings: Settings, _ aws: AWSStores?, _ pool: ConnectionPool, _ unreadable: UnreadableItems,
        _ logger: Logger
    ) throws -> (Stores, stop: @Sendable () async -> Void) {
        var connections: any ConnectionStore & GrantStore = PostgresConnectionStore(pool: pool)
        if let aws, settings.connections == .dynamodb {
            var store = try aws.connections(settings)
            store.unreadable = { unreadable.found($0, $1) }
            connections = store
        }
        if let aws, case .bucket(let location)? = settings.transcripts {
            return ((connections, try aws.transcripts(at: location, settings)), { await aws.close() })
        }
        let folder = FolderTranscriptStore(folder: URL(filePath: settings.transcriptsFolder ?? ""))
        return (
            (connections, folder),
            {
                folder.stop()
                await aws?.close()
            }
        )
    }

    private static func make(
        _ settings: Settings, _ metrics: Metrics, _ logger: Logger, _ engines: EngineRegistry, _ pool: ConnectionPool,
        _ stores: Stores, _ spool: Spool, _ recovery: SpoolRecovery, _ stop: @escaping @Sendable () async -> Void
    ) async throws -> Parts {
        let (connections, transcripts) = stores
        let access = AccessDirectory(
            store: PostgresTenantStore(pool: pool), logger: logger, stalenessMax: settings.keyStalenessMax)
        try await access.refresh()
        var limits = Settlement.Limits()
        limits.transcriptStoreWait = settings.transcriptStoreWait
        let health = StoreHealth(logger: logger)
        let node = NodeIdentity(
            epoch: NodeEpoch(node: settings.node, epoch: UUID()), address: settings.effectiveAdvertisedAddress,
            region: settings.region, version: Application.version)
        var usageLimits = UsageDelivery.Limits()
        usageLimits.rollupInterval = settings.rollupInterval
        let usage = UsageDelivery(
            ledger: PostgresUsageLedger(pool: pool), spool: spool, epoch: node.epoch, maximumAge: settings.spoolMaxAge,
            logger: logger, limits: usageLimits)
        let settlement = Settlement(
            transcripts: transcripts, connections: connections, usage: PostgresUsageStore(pool: pool), spool: spool,
            health: health, metrics: metrics, logger: logger, limits: limits, isMetered: usage.isDelivered)
        let services = makeServices(
            settings, node, metrics, logger, engines, access, connections, settlement, usage, spool, health)
        let events = try makeEvents(settings, services, pool)
        let epochFile = EpochFile(stateDirectory: URL(filePath: settings.stateDirectory))
        var reaper = LeaseReaper(
            connections: connections, transcripts: transcripts, metrics: metrics, logger: logger)
        reaper.noteUsage = usage.reaped
        let last = epochFile.last
        let life = makeLife(services, after: last, reaper)
        try await usage.begin(recovery.usage)
        await settlement.recover(recovery.sessions, strays: recovery.strays)
        if !recovery.sessions.isEmpty {
            logger.notice("finishing sessions of an earlier life", metadata: ["sessions": "\(recovery.sessions.count)"])
            await settlement.workOnce(patience: limits.startWait)
        }
        // Transcripts can wait in the spool, so that a node starts while a bucket is away; a folder is this machine's.
        if settings.transcriptsFolder == nil {
            await settlement.checkTranscriptsAtStart()
        } else {
            try await transcripts.checkHealth()
        }
        try await life.begin()
        try epochFile.write(services.node.epoch)
        try services.minutes.begin(after: last)
        let listener = AccessFeed(node: settings.node, sessions: services.sessions, logger: logger).follow(
            access, pool.url)
        let admin = AdminServices(
            access: access, pool: pool, connections: connections, transcripts: transcripts, auditHeads: transcripts,
            engines: Array(engines.engines.keys), secrets: settings.secrets.map { Array($0.revealed.utf8) },
            logger: logger, randomBytes: services.randomBytes, closeGrace: settings.closeGrace,
            invoiceIssuer: settings.invoiceIssuer)
        let document = FileManager.default.contents(atPath: settings.openAPI).map(Array.init) ?? []
        let audit = makeAudit(services, reaper)
        return Parts(
            services: services, access: access, life: life, audit: audit, transcripts: transcripts,
            admin: AdminPlane(services: admin),
            erasure: TranscriptErasure(pool: pool, transcripts: transcripts, node: settings.node, logger: logger),
            pruning: RowPruning(pool: pool, metrics: metrics, logger: logger, recordsDays: settings.usageRecordsDays),
            events: events,
            auditHeads: AuditHeads(pool: pool, store: transcripts, metrics: metrics, logger: logger),
            requestLimits: makeRequestLimits(settings, services), openAPI: document,
            stop: {
                listener.stop()
                await services.minutes.stop(within: NodeMinutes.stopWait)
                await stop()
            })
    }

    private static func makeRequestLimits(_ settings: Settings, _ services: ListenServices) -> RequestLimits {
        RequestLimits(
            .init(
                perAddress: settings.requestsPerAddress, perToken: settings.requestsPerToken,
                perKey: settings.requestsPerKey)
        ) { services.authenticator.holder(of: $0) }
    }

    private static func makeEvents(
        _ settings: Settings, _ services: ListenServices, _ pool: ConnectionPool
    ) throws -> UsageEventDelivery? {
        guard let destination = settings.eventsURL else { return nil }
        var options = HTTPClient.Options()
        options.authoritiesFile = settings.eventsAuthorities
        let http = try HTTPClient(options: options)
        let receiver = UsageEventDelivery.Receiver(
            destination: destination, source: settings.eventsSource, signing: WebhookSigning(settings.eventsSecrets),
            authorization: settings.eventsAuthorization)
        return UsageEventDelivery(
            outbox: PostgresUsageEvents(pool: pool), receiver: receiver, transport: http,
            holder: services.node.epoch.epoch, metrics: services.metrics, logger: services.logger,
            limits: UsageEventDelivery.Limits(settings), chance: { Double.random(in: 0..<1) },
            close: { await http.close() })
    }

    private static func makeServices(
        _ settings: Settings, _ node: NodeIdentity, _ metrics: Metrics, _ logger: Logger, _ engines: EngineRegistry,
        _ access: AccessDirectory, _ connections: any ConnectionStore & GrantStore, _ settlement: Settlement,
        _ usage: UsageDelivery, _ spool: Spool, _ health: StoreHealth
    ) -> ListenServices {
        var sessionLimits = Session.Limits()
        sessionLimits.idle = settings.idleTimeout
        let minutes = NodeMinutes(
            store: connections, holder: node.epoch,
            marks: SpendMarks(stateDirectory: URL(filePath: settings.stateDirectory)), access: access, logger: logger)
        return ListenServices(
            authenticator: Authenticator(directory: access, secrets: settings.secrets.map { Array($0.revealed.utf8) }),
            access: access, engines: engines, connections: connections, settlement: settlement, usage: usage,
            spool: spool, metrics: metrics, minutes: minutes, limits: RecentLimits(), sessions: LiveSessions(),
            node: node,
            sessionLimits: sessionLimits, storeHealth: health, onLeaseLost: settings.onLeaseLost,
            admitUnclaimed: settings.admitUnclaimed, quotaUnavailable: settings.quotaUnavailable, logger: logger,
            randomBytes: { SecureRandom.bytes(count: $0) })
    }

    private static func makeAudit(_ services: ListenServices, _ reaper: LeaseReaper) -> StoreAudit {
        let sessions = services.sessions
        return StoreAudit(
            node: services.node, connections: services.connections, liveSessions: { sessions.identifiers },
            unclaimedSessions: { sessions.unclaimed },
            settlement: services.settlement, suspects: services.suspects, reaper: reaper, metrics: services.metrics,
            logger: services.logger,
            endUnheld: { id in
                if let tenant = sessions.tenant(of: id), services.closesWithoutLease(tenant) {
                    sessions.end(id, .storeAway)
                }
            })
    }

    private static func makeLife(
        _ services: ListenServices, after earlierLife: NodeEpoch?, _ reaper: LeaseReaper
    ) -> NodeLife {
        let sessions = services.sessions
        return NodeLife(
            node: services.node, connections: services.connections, sessions: sessions, earlierLife: earlierLife,
            health: services.storeHealth, reaper: reaper,
            endSessions: { sessions.endHolders(.storeAway, of: services.closesWithoutLease) }, logger: services.logger)
    }

    /// Tells the connection store of limits that change, until the task is cancelled.
    func keepStatingLimits() async {
        await services.statedLimits.keepStating(
            from: access, to: services.connections, logger: services.logger)
    }

    /// Who a listener is for; what machines ask of a node is on each.
    enum Plane { case tenant, admin }

    /// The REST side.
    func router(loops: [EventLoop], planes: Set<Plane> = [.tenant, .admin]) -> Router {
        let (services, access, counters) = (services, access, serverCounters)
        let checks = [
            NodeRoutes.Check(name: "keys") {
                access.snapshot == nil ? "not read yet" : access.isStale ? "too old" : nil
            },
            NodeRoutes.Check(name: "connection_store") {
                services.storeHealth.isReachable || services.admitUnclaimed == .allow ? nil : "does not answer"
            },
            NodeRoutes.Check(name: "spool") {
                services.spool.isFull ? "full" : services.spool.isFailing ? "cannot be written" : nil
            },
            NodeRoutes.Check(name: "usage") { services.usage.obstacle() },
            NodeRoutes.Check(name: "node") { services.sessions.isDraining ? "draining" : nil },
        ]
        let tenant = TenantRoutes(authenticator: services.authenticator, transcripts: transcripts)
        let tenantSessions = TenantSessionRoutes(
            authenticator: services.authenticator, connections: services.connections, history: admin.services.history,
            transcripts: transcripts, auditLog: PostgresAuditLog(pool: admin.services.pool),
            secrets: admin.services.secrets)
        let usage = TenantUsageRoutes(authenticator: services.authenticator, usage: admin.services.usage)
        let projects = ProjectRoutes(
            authenticator: services.authenticator, reports: admin.services.usage.reports,
            history: admin.services.history)
        let invoices = TenantInvoiceRoutes(
            authenticator: services.authenticator, pool: admin.services.pool, secrets: admin.services.secrets,
            reader: BillingReader(issuer: admin.services.invoiceIssuer, isTenant: true))
        let node = NodeRoutes(
            checks: checks, metrics: services.metrics,
            gauges: { [events] in
                let gauges = await Self.gauges(services, access, counters.counters, loops)
                return gauges + (events.map(Self.eventGauges) ?? [])
            }, document: openAPI)
        return Router(
            routes: (planes.contains(.tenant)
                ? tenant.routes + tenantSessions.routes + usage.routes + projects.routes + invoices.routes : [])
                + (planes.contains(.admin) ? admin.routes : []) + node.routes, metrics: services.metrics,
            logger: services.logger,
            randomBytes: services.randomBytes, limits: requestLimits)
    }

    private static func gauges(
        _ services: ListenServices, _ access: AccessDirectory, _ web: WebServerCounters, _ loops: [EventLoop]
    ) async -> [Metrics.Gauge] {
        var gauges = [
            Metrics.Gauge(
                name: "hansard_sessions_active", help: "Sessions now.", value: Double(services.sessions.count)),
            Metrics.Gauge(
                name: "hansard_sessions_unclaimed", help: "Sessions now that began without a slot and have none yet.",
                value: Double(services.sessions.unclaimed.count)),
            Metrics.Gauge(name: "hansard_connections_open", help: "TCP connections now.", value: Double(web.open)),
            Metrics.Gauge(
                name: "hansard_connections_accepted_total", help: "TCP connections accepted.",
                value: Double(web.accepted),
                isCounter: true),
            Metrics.Gauge(
                name: "hansard_connections_refused_total", help: "TCP connections refused by a limit.",
                value: Double(web.refusedByAddressLimit + web.refusedByConnectionLimit), isCounter: true),
            Metrics.Gauge(
                name: "hansard_received_bytes_total", help: "Payload bytes received.", value: Double(web.bytesReceived),
                isCounter: true),
            Metrics.Gauge(
                name: "hansard_sent_bytes_total", help: "Payload bytes sent.", value: Double(web.bytesSent),
                isCounter: true),
            Metrics.Gauge(
                name: "hansard_loop_stall_seconds", help: "The longest turn of an event loop since the last scrape.",
                value: loops.map { $0.takeLongestStall() / .seconds(1) }.max() ?? 0),
            Metrics.Gauge(
                name: "hansard_held_bytes", help: "Audio that waits for room in an engine.",
                value: Double(services.held.bytes)),
            Metrics.Gauge(
                name: "hansard_spool_bytes", help: "Bytes in the spool.", value: Double(services.spool.bytes)),
            Metrics.Gauge(
                name: "hansard_spool_unsettled_bytes",
                help: "Bytes in the spool of sessions of which some store has still to learn.",
                value: Double(services.spool.unsettledBytes)),
            Metrics.Gauge(
                name: "hansard_spool_failures_total", help: "Spool writes and syncs that failed, and damaged files.",
                value: Double(services.spool.failures),
                isCounter: true),
            Metrics.Gauge(
                name: "hansard_settlement_backlog", help: "Ended sessions that some store still has to learn of.",
                value: Double(await services.settlement.backlog)),
            Metrics.Gauge(
                name: "hansard_keys_age_seconds", help: "Age of what is known of tenants and keys.",
                value: (access.age ?? .zero) / .seconds(1)),
        ]
        gauges += usageGauges(services.usage)
        let away = await services.settlement.awayStores
        for store in Settlement.stores {
            let isAway = away.contains(store) || (store == "connections" && !services.storeHealth.isWhole)
            gauges.append(
                Metrics.Gauge(
                    name: "hansard_store_reachable", help: "1 if the store answered when it was last asked.",
                    value: isAway ? 0 : 1, labels: [("store", store)]))
        }
        for (name, engine) in services.engines.engines {
            if let relay = engine as? RelayEngine { gauges += relay.gauges(name) }
            guard let capacity = engine.load.capacity else { continue }
            gauges.append(
                Metrics.Gauge(name: "hansard_engine_slots", help: "Local engine slots.", value: Double(capacity)))
            gauges.append(
                Metrics.Gauge(
                    name: "hansard_engine_slots_used", help: "Local engine slots in use.",
                    value: Double(engine.load.inUse)))
        }
        return gauges
    }

    private static func eventGauges(_ events: UsageEventDelivery) -> [Metrics.Gauge] {
        [
            Metrics.Gauge(
                name: "hansard_usage_events_pending", help: "Usage events that their receiver does not have yet.",
                value: Double(events.pending)),
            Metrics.Gauge(
                name: "hansard_usage_events_delay_seconds", help: "For how long the oldest of them has waited.",
                value: events.delay() / .seconds(1)),
        ]
    }

    private static func usageGauges(_ usage: UsageDelivery) -> [Metrics.Gauge] {
        [
            Metrics.Gauge(
                name: "hansard_usage_backlog", help: "Usage records that the ledger does not have yet.",
                value: Double(usage.backlog)),
            Metrics.Gauge(
                name: "hansard_usage_delay_seconds", help: "For how long the oldest of them has waited.",
                value: usage.delay() / .seconds(1)),
            Metrics.Gauge(
                name: "hansard_usage_delivered_total", help: "Usage records that the ledger got.",
                value: Double(usage.delivered), isCounter: true),
            Metrics.Gauge(
                name: "hansard_usage_refused_total", help: "Usage records that the ledger will not take.",
                value: Double(usage.refused), isCounter: true),
            Metrics.Gauge(
                name: "hansard_clock_difference_seconds", help: "By how much the clock is ahead of the database's.",
                value: usage.clockDifference),
        ]
    }
}
