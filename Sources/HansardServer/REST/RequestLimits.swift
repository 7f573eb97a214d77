import EventLoops
import Hansard
import Web

/// How many REST calls this node answers to one address, one admin token and one key. Each node counts for itself, in
/// memory, and before anything else is done for a call: it is a guard, no quota.
final class RequestLimits: Sendable {
    /// In which the requests of each limit are allowed.
    static let window = Duration.seconds(60)
    /// Addresses, and tokens and keys, that are remembered.
    static let remembered = 65_536

    /// Whose limit it is, as the answers' `RateLimit` fields name it.
    enum Policy: String, Sendable, CaseIterable {
        case address, token, key
    }

    /// Requests per `window`; nil is no limit.
    struct Quotas: Sendable {
        var perAddress: Int?
        var perToken: Int?
        var perKey: Int?
    }

    /// What a request has come to.
    struct Count: Sendable {
        /// The limits that it was counted against.
        var limits: [RateLimit] = []
        /// The one that it is beyond, and when there is room again.
        var refusal: (policy: Policy, retryAfter: Duration)?
    }

    private struct State {
        var addresses: RequestBuckets<IPAddress>?
        var tokens: RequestBuckets<String>?
        var keys: RequestBuckets<KeyID>?
    }

    private let state: Locked<State>
    private let holder: @Sendable (HTTPRequest) -> CredentialHolder?
    private let now: @Sendable () -> Duration

    /// - Parameters:
    ///   - holder: whose credential a request presents; asked only within the address's limit.
    ///   - now: time from any fixed moment.
    init(
        _ quotas: Quotas, holder: @escaping @Sendable (HTTPRequest) -> CredentialHolder?,
        now: @escaping @Sendable () -> Duration
    ) {
        func buckets<Subject>(_ quota: Int?) -> RequestBuckets<Subject>? {
            quota.map { RequestBuckets(quota: $0, window: Self.window, capacity: Self.remembered) }
        }
        state = Locked(
            State(
                addresses: buckets(quotas.perAddress), tokens: buckets(quotas.perToken), keys: buckets(quotas.perKey)))
        self.holder = holder
        self.now = now
    }

    /// With the time since now.
    convenience init(_ quotas: Quotas, holder: @escaping @Sendable (HTTPRequest) -> CredentialHolder?) {
        let start = ContinuousClock.now
        self.init(quotas, holder: holder) { ContinuousClock.now - start }
    }

    /// A request came. Any thread.
    func count(_ request: HTTPRequest) -> Count {
        let now = now()
        let address = request.peer.address.subscriber
        var count = Count()
        count.add(.address, state.withLock { state in state.addresses.came(from: address, at: now) })
        guard count.refusal == nil, let holder = holder(request) else { return count }
        switch holder {
        case .token(let id): count.add(.token, state.withLock { $0.tokens.came(from: id, at: now) })
        case .key(let id): count.add(.key, state.withLock { $0.keys.came(from: id, at: now) })
        }
        return count
    }
}

extension Optional {
    /// A request came, where there is a limit.
    fileprivate mutating func came<Subject>(
        from subject: Subject, at now: Duration
    ) -> (quota: Int, standing: RequestBuckets<Subject>.Standing)? where Wrapped == RequestBuckets<Subject> {
        guard var buckets = self else { return nil }
        // Not copied: nothing else refers to it meanwhile.
        self = nil
        defer { self = buckets }
        return (buckets.quota, buckets.requestCame(from: subject, at: now))
    }
}

extension RequestLimits.Count {
    fileprivate mutating func add<Subject>(
        _ policy: RequestLimits.Policy, _ counted: (quota: Int, standing: RequestBuckets<Subject>.Standing)?
    ) {
        guard let (quota, standing) = counted else { return }
        limits.append(
            RateLimit(
                policy: policy.rawValue, quota: quota, window: Int(RequestLimits.window.components.seconds),
                remaining: standing.remaining, reset: standing.reset.wholeSeconds))
        if !standing.isAllowed { refusal = (policy, standing.retryAfter) }
    }
}

extension RequestLimits.Policy {
    /// What a caller beyond it is told.
    func reason(quota: Int) -> String {
        let whose =
            switch self {
            case .address: "this address"
            case .token: "this admin token"
            case .key: "this API key"
            }
        return "too many requests: a node answers \(quota) per minute to \(whose)"
    }
}

/// A limit, and how far from it a caller is, for the fields `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-11 sections 3 and 4).
struct RateLimit: Sendable, Equatable {
    var policy: String
    var quota: Int
    /// Seconds in which the quota is allowed; nil where no time is counted.
    var window: Int?
    /// What is counted, where it is not requests.
    var unit: String?
    var remaining: Int
    /// Seconds until the quota is whole again, if that is known.
    var reset: Int?

    /// The policy as an item of its field.
    var policyItem: String {
        "\"\(policy)\";q=\(quota)" + (unit.map { ";qu=\"\($0)\"" } ?? "") + (window.map { ";w=\($0)" } ?? "")
    }

    /// The standing as an item of its field.
    var item: String { "\"\(policy)\";r=\(remaining)" + (reset.map { ";t=\($0)" } ?? "") }
}

extension HTTPHeaders {
    /// Says which limits a request was counted against.
    mutating func add(_ limits: [RateLimit]) {
        guard !limits.isEmpty else { return }
        add("RateLimit-Policy", limits.map(\.policyItem).joined(separator: ", "))
        add("RateLimit", limits.map(\.item).joined(separator: ", "))
    }
}

extension Duration {
    /// Rounded up, and not negative.
    var wholeSeconds: Int {
        let (seconds, rest) = components
        return max(0, Int(rest > 0 ? seconds + 1 : seconds))
    }
}
