import Hansard
import Logging

/// The engines of this node by name.
struct EngineRegistry: Sendable {
    /// The one for tenants that name none.
    var defaultEngine: String
    /// The one that goes on where a tenant's first fails, for tenants that name none; nil is none.
    var fallbackEngine: String?
    var engines: [String: any SpeechEngine]
    var logger: Logger

    /// The engine for a tenant: its first, with its second behind it if this node has that.
    ///
    /// - Throws: `.unavailable` if neither is one of this node's.
    func engine(for tenant: Tenant) throws(HansardError) -> any SpeechEngine {
        let name = tenant.defaultEngine ?? defaultEngine
        let second = (tenant.fallbackEngine ?? fallbackEngine).flatMap { $0 == name ? nil : engines[$0] }
        guard let first = engines[name] else {
            if let second { return second }
            throw HansardError(.unavailable, "the engine '\(name)' is not available on this node")
        }
        guard let second else { return first }
        return FallbackEngine(first: first, second: second, logger: logger)
    }
}
