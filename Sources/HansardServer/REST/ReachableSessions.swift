import FoundationEssentials
import Hansard
import Web

/// The sessions that a caller may know of, live and past, as the tenants' own plane and the operators' show them.
struct ReachableSessions: Sendable {
    let reach: SessionReach
    let connections: any ConnectionStore
    let history: any SessionHistory
    /// Below which the caller reads transcripts.
    let transcripts: String
    /// What is thrown for a session that is not there, or not within reach.
    let absence: HansardError

    /// One page, newest first. Live ones alone do not need the history's store.
    func list(_ match: Route.Match, _ page: PageRequest, secret: [UInt8]) async throws -> HTTPResponse {
        let filter = try SessionFilter(match)
        let before = page.after.flatMap { SessionID($0.id) }
        // In this order: `ListedSession.page` says why.
        let live = filter.hasLive ? try await leases().filter(filter.includes) : []
        let past = filter.hasPast ? try await history.past(reach, filter, before: before, limit: page.rows) : []
        let found = ListedSession.page(live: live, past: past, before: before, limit: page.rows)
        return page.response(found, match, secret: secret) { item in
            Cursor(time: item.session.startedAt, id: item.session.description)
        } write: { item, text in
            switch item {
            case .live(let lease): lease.write(into: &text)
            case .past(let row): row.write(into: &text, transcripts: transcripts)
            }
        }
    }

    /// One that has ended, or holds a slot.
    func get(_ id: SessionID) async throws -> HTTPResponse {
        if let status = try await ended(id) {
            // What only the history knows, such as the engine, is left out while its store is away.
            let row = try? await history.past(id, .tenant(status.tenant).within(reach))
            return .json { text in
                if let row {
                    row.write(into: &text, transcripts: transcripts, state: status.state)
                } else {
                    status.write(into: &text, transcripts: transcripts)
                }
            }
        }
        if let lease = try await lease(id) { return .json { lease.write(into: &$0) } }
        // The connection store forgets in time.
        guard let row = try await history.past(id, reach) else { throw absence }
        return .json { row.write(into: &$0, transcripts: transcripts) }
    }

    /// The lease of one that holds a slot.
    ///
    /// - Throws: `.conflict` if it has ended.
    func live(_ id: SessionID) async throws -> Lease {
        if let lease = try await lease(id) { return lease }
        var state = try await ended(id)?.state.rawValue
        if state == nil { state = try await history.past(id, reach)?.stateName }
        guard let state else { throw absence }
        throw HansardError(.conflict, "the session has ended: it is \(state)")
    }

    /// All that hold a slot now. Without a tenant they are those of all nodes, since a store may know leases by tenant and by
    /// node alone.
    private func leases() async throws -> [Lease] {
        if let tenant = reach.tenant { return try await connections.leases(of: tenant) }
        var leases: [Lease] = []
        for node in try await connections.nodes() { leases += try await connections.leases(heldBy: node.epoch) }
        return leases.filter { reach.includes($0.tenant) }
    }

    private func lease(_ id: SessionID) async throws -> Lease? { try await leases().first { $0.session == id } }

    private func ended(_ id: SessionID) async throws -> SessionStatus? {
        guard let status = try await connections.status(of: id), reach.includes(status.tenant) else { return nil }
        return status
    }
}

extension SessionFilter {
    /// What a list's query may say of it.
    static let parameters: Set<String> = ["status", "key_id", "engine", "started_from", "started_before"]

    /// Reads a list's query.
    ///
    /// - Throws: `.invalid` for a value that is not what it should be, `.contradictory` for what cannot be asked.
    init(_ match: Route.Match) throws(HansardError) {
        self.init()
        status = try match.choice("status")
        key = try match.text("key_id").map { KeyID($0) }
        engine = try match.choice("engine", EngineChoice.self)?.rawValue
        startedFrom = try match.time("started_from")
        startedBefore = try match.time("started_before")
        guard !isContradictory else {
            throw HansardError(
                .contradictory,
                "which engine spoke is known once a session has ended: ask for past ones, or leave it out",
                field: "engine")
        }
    }
}

extension SessionReach {
    func includes(_ tenant: TenantID) -> Bool {
        if let one = self.tenant { return one == tenant }
        return tenants?.contains(tenant) ?? true
    }

    /// The same look as another one's: a tenant's own stays its own.
    fileprivate func within(_ other: SessionReach) -> SessionReach {
        if case .own = other { other } else { self }
    }
}

extension HTTPResponse {
    /// A list that is whole: there are no other pages.
    static func list<Item>(_ items: [Item], write: (Item, inout JSONText) -> Void) -> HTTPResponse {
        .json { text in
            text.array("data") { text in
                for item in items { text.object { write(item, &$0) } }
            }
            text.field("has_more", false)
            text.field("next_cursor", orNull: String?.none)
        }
    }
}

extension Lease {
    func write(into text: inout JSONText) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", SessionState.active.rawValue)
        text.field("node", holder.node)
        text.field("region", region)
        text.field("started_at", Timestamp.format(claimedAt))
        text.field("ended_at", orNull: String?.none)
        // As far as the store knows, which is told each minute of audio.
        text.field("audio_ms", Int(usedMilliseconds))
    }
}

extension SessionStatus {
    /// - Parameter transcripts: below which transcripts are read.
    func write(into text: inout JSONText, transcripts: String) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", state.rawValue)
        text.field("reason", reason)
        text.field("region", region)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("ended_at", Timestamp.format(endedAt))
        text.field("audio_ms", Int(audioMilliseconds))
        text.field("engine_ms", Int(engineMilliseconds))
        text.field("finals", finals)
        text.field("transcript_url", orNull: transcriptLocation == nil ? nil : "\(transcripts)/\(session)")
    }
}

extension UsageRow {
    /// The state for people; rows from before it was kept do not say.
    var stateName: String { outcome?.state.rawValue ?? "unknown" }

    /// - Parameters:
    ///   - transcripts: below which transcripts are read.
    ///   - state: the present one, if somebody knows better.
    func write(into text: inout JSONText, transcripts: String, state: SessionState? = nil) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", state?.rawValue ?? stateName)
        text.field("reason", orNull: outcome?.reason)
        text.field("region", region)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("ended_at", Timestamp.format(endedAt))
        text.field("audio_ms", Int(audioMilliseconds))
        text.field("engine_ms", Int(engineMilliseconds))
        text.field("finals", orNull: outcome?.finals)
        let isStored = outcome?.hasTranscript == true && (state ?? outcome?.state)?.isEnd == true
        text.field("transcript_url", orNull: isStored ? "\(transcripts)/\(session)" : nil)
        text.field("engine", engine)
        text.field("model", model)
        text.field("language", language)
        text.field("channels", channels)
        text.field("tags", orNull: tags)
    }
}
