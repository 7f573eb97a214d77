import EventLoops
import Hansard

/// Tenants that were refused a slot, or whose claim failed, since the audit last looked. One whose counter is wrong, or whose
/// slots nobody holds any more, may have no lease on any node by which an audit would come across it.
final class SuspectTenants: Sendable {
    /// Tenants that are remembered. Beyond, they are noted when they come again.
    static let limit = 1_000

    private let tenants = Locked<Set<TenantID>>([])

    func add(_ tenant: TenantID) {
        tenants.withLock { if $0.count < Self.limit { $0.insert(tenant) } }
    }

    /// Those since the last call.
    func take() -> Set<TenantID> {
        tenants.withLock { tenants in
            defer { tenants = [] }
            return tenants
        }
    }
}
