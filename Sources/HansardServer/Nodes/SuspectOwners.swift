import EventLoops
import Hansard

/// Tenants and keys that were refused a slot, or whose claim failed, since the audit last looked. One whose counter is
/// wrong, or whose slots nobody holds any more, may have no lease on any node by which an audit would come across it.
final class SuspectOwners: Sendable {
    /// Tenants and keys that are remembered. Beyond, they are noted when they come again.
    static let limit = 1_000

    private let owners = Locked<Set<QuotaOwner>>([])

    func add(_ owner: QuotaOwner) {
        owners.withLock { if $0.count < Self.limit { $0.insert(owner) } }
    }

    /// Those since the last call.
    func take() -> Set<QuotaOwner> {
        owners.withLock { owners in
            defer { owners = [] }
            return owners
        }
    }
}
