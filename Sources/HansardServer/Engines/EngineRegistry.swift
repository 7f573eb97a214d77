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
    /// - Throws: `.unavailable` if neither is one of this node's, `.forbidden` if the tenant may use none of them.
    func engine(for tenant: Tenant) throws(HansardError) -> any SpeechEngine {
        func isAllowed(_ name: String) -> Bool { tenant.allowedEngines?.contains(name) ?? true }
        // Who may not use the server's own gets the first that is allowed.
        let preferred = tenant.defaultEngine ?? defaultEngine
        guard let name = isAllowed(preferred) ? preferred : tenant.allowedEngines?.first else {
            throw HansardError(.forbidden, "this tenant may use no engine")
        }
        let second = (tenant.fallbackEngine ?? fallbackEngine).flatMap {
            $0 == name || !isAllowed($0) ? nil : engines[$0]
        }
        guard let first = engines[name] else {
            if let second { return second }
            throw HansardError(.unavailable, "the engine '\(name)' is not available on this node")
        }
        guard let second else { return first }
        return FallbackEngine(first: first, second: second, logger: logger)
    }
}
