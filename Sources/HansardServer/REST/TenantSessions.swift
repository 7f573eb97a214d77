import FoundationEssentials
import Hansard
import Web

/// One tenant's sessions, as its own plane and the operators' show them.
struct TenantSessions: Sendable {
    let tenant: TenantID
    let connections: any ConnectionStore
    /// What is thrown for a session that is not there, or not this tenant's.
    let absence: HansardError

    /// Those that hold a slot now, oldest first: at most as many as the tenant may have.
    func list() async throws -> HTTPResponse {
        let leases = try await connections.leases(of: tenant)
        return .list(leases) { $0.write(into: &$1) }
    }

    /// One that has ended, or holds a slot.
    func get(_ id: SessionID) async throws -> HTTPResponse {
        if let status = try await ended(id) { return .json { status.write(into: &$0) } }
        guard let lease = try await lease(id) else { throw absence }
        return .json { lease.write(into: &$0) }
    }

    /// The lease of one that holds a slot.
    ///
    /// - Throws: `.conflict` if it has ended.
    func live(_ id: SessionID) async throws -> Lease {
        if let lease = try await lease(id) { return lease }
        guard let status = try await ended(id) else { throw absence }
        throw HansardError(.conflict, "the session has ended: it is \(status.state.rawValue)")
    }

    private func lease(_ id: SessionID) async throws -> Lease? {
        try await connections.leases(of: tenant).first { $0.session == id }
    }

    private func ended(_ id: SessionID) async throws -> SessionStatus? {
        guard let status = try await connections.status(of: id), status.tenant == tenant else { return nil }
        return status
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
    func write(into text: inout JSONText) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", state.rawValue)
        text.field("reason", reason)
        text.field("region", region)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("ended_at", Timestamp.format(endedAt))
        text.field("audio_ms", Int(audioMilliseconds))
        text.field("finals", finals)
    }
}
