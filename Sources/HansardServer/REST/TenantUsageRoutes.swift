import FoundationEssentials
import Hansard
import Web

/// The tenant's own plane: what it used.
struct TenantUsageRoutes: Sendable {
    static let path = "/v1/usage"
    static let sessionsPath = path + "/sessions"

    let authenticator: Authenticator
    let usage: UsageAnswers

    var routes: [Route] {
        [
            Route("GET", Self.path) { match in
                try await usage.report(match, of: try tenant(match), now: .now)
            },
            Route("GET", Self.sessionsPath) { match in
                try await usage.sessions(match, of: try tenant(match), now: .now)
            },
        ]
    }

    private func tenant(_ match: Route.Match) throws(HansardError) -> TenantID {
        let caller = try authenticator.caller(of: match)
        try caller.require(.usageRead)
        return caller.tenant.id
    }
}
