import EventLoops
import Foundation
import Hansard

/// Transcripts in memory, with faults: a second conformer of the contract that `FolderTranscriptStore` keeps.
final class MemoryTranscriptStore: TranscriptStore {
    let faults = StoreFaults()
    private let transcripts = Locked<[SessionID: Transcript]>([:])
    private let auditHeads = Locked<Set<AuditHead>>([])

    /// What is stored, past all faults.
    var stored: [SessionID: Transcript] { transcripts.withLock { $0 } }

    func put(_ transcript: Transcript) async throws -> String {
        try await faults.call("put") {
            transcripts.withLock { $0[transcript.session] = transcript }
            return Self.objectName(transcript.session, tenant: transcript.tenant)
        }
    }

    func get(_ session: SessionID, tenant: TenantID) async throws -> Transcript? {
        try await faults.call("get") {
            transcripts.withLock { $0[session] }.flatMap { $0.tenant == tenant ? $0 : nil }
        }
    }

    func list(tenant: TenantID, before: SessionID?, limit: Int) async throws -> [TranscriptEntry] {
        precondition(1...100 ~= limit, "a page of \(limit) was asked for")
        return try await faults.call("list") {
            let own = stored.values.filter { $0.tenant == tenant }.map(\.session.description).sorted(by: >)
            let page = own.filter { name in before.map { name < $0.description } ?? true }.prefix(limit)
            return page.compactMap(SessionID.init).map {
                TranscriptEntry(session: $0, startedAt: $0.startedAt, size: 1)
            }
        }
    }

    func delete(_ session: SessionID, tenant: TenantID) async throws {
        try await faults.call("delete") {
            transcripts.withLock { if $0[session]?.tenant == tenant { $0[session] = nil } }
        }
    }

    func checkHealth() async throws { try await faults.call("checkHealth") {} }
}

extension MemoryTranscriptStore: AuditHeadStore {
    func keep(_ head: AuditHead, at date: Date) async throws {
        try await faults.call("keep") { _ = auditHeads.withLock { $0.insert(head) } }
    }

    func chains() async throws -> Set<TenantID?> {
        try await faults.call("chains") { Set(auditHeads.withLock { $0 }.map(\.tenant)) }
    }

    func heads(of tenant: TenantID?) async throws -> [AuditHead] {
        try await faults.call("heads") {
            auditHeads.withLock { $0 }.filter { $0.tenant == tenant }.sorted { $0.name < $1.name }
        }
    }
}

/// Usage rows in memory, with faults.
final class MemoryUsageStore: UsageStore {
    let faults = StoreFaults()
    private let state = Locked((rows: [SessionID: UsageRow](), batches: [[SessionID]]()))
    /// A row that holds this tag is refused, and the batch it comes in with it.
    static let poison = "poison"

    /// What is stored, past all faults.
    var stored: [SessionID: UsageRow] { state.withLock(\.rows) }
    /// The sessions of each batch that was taken.
    var batches: [[SessionID]] { state.withLock(\.batches) }

    func record(_ rows: [UsageRow]) async throws {
        try await faults.call("record") {
            if rows.contains(where: { $0.tags.contains(Self.poison) }) {
                throw HansardError(.invalid, "a value cannot be stored: a check failed")
            }
            state.withLock { state in
                state.batches.append(rows.map(\.session))
                for row in rows { state.rows[row.session] = row }
            }
        }
    }

    func usage(of session: SessionID, tenant: TenantID) async throws -> UsageRow? {
        try await faults.call("usage") { state.withLock { $0.rows[session] } }
    }
}

/// Tenants and keys in memory.
final class MemoryTenantStore: TenantStore {
    let faults = StoreFaults()
    private let snapshot = Locked(AccessSnapshot(position: Sample.position(0), tenants: [], keys: []))

    func set(tenants: [Tenant], keys: [(SecretDigest, APIKey)]) {
        snapshot.withLock {
            let position = Sample.position($0.position.sequence + 1)
            $0 = AccessSnapshot(position: position, tenants: tenants, keys: keys)
        }
    }

    func accessPosition() async throws -> AccessPosition {
        try await faults.call("accessPosition") { snapshot.withLock(\.position) }
    }
    func accessSnapshot() async throws -> AccessSnapshot {
        try await faults.call("accessSnapshot") { snapshot.withLock { $0 } }
    }
    func accessChanges(since position: AccessPosition) async throws -> AccessChanges? {
        try await faults.call("accessChanges") { nil }
    }
    func accessCommands(
        after position: AccessPosition, through end: AccessPosition
    ) async throws -> [NodeCommand] {
        try await faults.call("accessCommands") { [] }
    }
    func create(_ tenant: Tenant) async throws { throw HansardError(.internal, "read only") }
    func create(_ key: APIKey, digest: SecretDigest) async throws { throw HansardError(.internal, "read only") }
    func create(_ token: AdminToken, digest: SecretDigest) async throws { throw HansardError(.internal, "read only") }
    func tenant(named name: String) async throws -> Tenant? { snapshot.withLock { $0.tenants.first } }
    func key(digest: SecretDigest) async throws -> APIKey? { snapshot.withLock { $0.key(digest) } }
    func adminToken(digest: SecretDigest) async throws -> AdminToken? { nil }
}
