import FoundationEssentials
import Hansard
import Web

/// Who makes a call.
enum AdminIdentity: Sendable {
    /// The holder of a token.
    case token(AdminToken)
    /// Somebody at the command line of a machine that may log in to the database, by name: an owner.
    case command(String)

    var role: AdminRole {
        switch self {
        case .token(let token): token.role
        case .command: .owner
        }
    }

    /// The tenants that it may know of; nil is all.
    var tenants: [TenantID]? {
        switch self {
        case .token(let token): token.tenants
        case .command: nil
        }
    }

    var actor: AuditEntry.Actor {
        switch self {
        case .token(let token): .adminToken(token.id)
        case .command(let name): .command(name)
        }
    }

    /// Whether it may know of the tenant.
    func mayReach(_ tenant: TenantID) -> Bool { tenants?.contains(tenant) ?? true }
}

/// One call of the admin plane by somebody who has been recognised.
struct AdminCall: Sendable {
    let match: Route.Match
    let route: AdminRoute
    let caller: AdminIdentity
    let now: Date

    /// The call's own id, the answer's `x-request-id`.
    var id: SessionID { match.id }
    /// The tenant in the path.
    ///
    /// - Throws: `.notFound` if it is no tenant's id, or one that the caller may not know of.
    var tenant: TenantID {
        get throws(HansardError) {
            guard let id = namedTenant, caller.mayReach(id) else { throw Self.nothingHere }
            return id
        }
    }

    /// The tenant in the path, whether or not the caller may know of it; nil if it is no tenant's id.
    var namedTenant: TenantID? { match.segments["tenant_id"].flatMap(UUID.init(uuidString:)).map(TenantID.init) }

    /// Whether it is about a tenant that the caller may not know of.
    var isOutOfReach: Bool { namedTenant.map { !caller.mayReach($0) } ?? false }

    /// Whatever is not there, and whatever the caller may not know of: the same words for both.
    static let nothingHere = HansardError(.notFound, "there is no such thing, or not for this token")

    /// Throws `.forbidden` if the caller is limited to some tenants: what it wants concerns all.
    func requireAllTenants(to act: String) throws(HansardError) {
        guard caller.tenants == nil else {
            throw HansardError(.forbidden, "a token that is limited to tenants cannot \(act)")
        }
    }

    /// The session in the path.
    var session: SessionID {
        get throws(HansardError) {
            guard let id = SessionID(try segment("session_id")) else { throw Self.nothingHere }
            return id
        }
    }

    /// A part of the path that is a name, such as a key's.
    func segment(_ name: String) throws(HansardError) -> String {
        guard let text = match.segments[name], !text.isEmpty, text.utf8.count <= 64 else { throw Self.nothingHere }
        return text
    }

    /// The body's fields.
    func body() throws(HansardError) -> ObjectReader { try ObjectReader(match.request.body) }

    /// One value of the query.
    func query(_ name: String) throws(HansardError) -> String? { try match.value(name) }

    /// One value of the query that is compared with what is stored.
    func text(_ name: String) throws(HansardError) -> String? { try match.text(name) }

    /// A time in the query.
    func time(_ name: String) throws(HansardError) -> Date? { try match.time(name) }

    /// A tenant in the query; nil if it names none.
    ///
    /// - Throws: `.invalid` if it is no tenant's id, `.notFound` if the caller may not know of it.
    func tenantParameter() throws(HansardError) -> TenantID? {
        guard let text = try query("tenant_id") else { return nil }
        guard let id = UUID(uuidString: text).map(TenantID.init) else {
            throw HansardError(.invalid, "tenant_id must be a tenant's id", field: "tenant_id")
        }
        guard caller.mayReach(id) else { throw Self.nothingHere }
        return id
    }

    /// Throws `.invalid` if the query has parameters that this route does not know.
    func requireQuery(only known: Set<String>) throws(HansardError) { try match.requireQuery(only: known) }

    /// The revision that `If-Match` names; nil if there is none, or `*`.
    func expectedRevision() throws(HansardError) -> Int64? {
        guard let text = match.request.headers["if-match"]?.trimming(" "), text != "*" else { return nil }
        guard let revision = EntityTag.revision(of: text) else {
            // Some other tag: it cannot be the present one (RFC 9110 section 13.1.1).
            throw HansardError(.stale, "If-Match is not an ETag of this resource; get it again", field: "if-match")
        }
        return revision
    }
}

/// The `ETag` of a resource that counts its revisions (RFC 9110 section 8.8.3).
enum EntityTag {
    static func text(_ revision: Int64) -> String { "\"r\(revision)\"" }

    static func revision(of tag: String) -> Int64? {
        guard tag.hasPrefix("\"r"), tag.hasSuffix("\""), tag.utf8.count > 3 else { return nil }
        let digits = tag.dropFirst(2).dropLast()
        return digits.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } ? Int64(digits) : nil
    }
}

/// One route of the admin plane and who may call it.
struct AdminRoute: Sendable {
    /// Whether a call needs an `Idempotency-Key`.
    enum Idempotency: Sendable {
        /// It creates something: without one it is refused.
        case required
        /// It is obeyed if there is one.
        case optional
        /// Reading, or a method that is idempotent by itself.
        case unused
    }

    let method: String
    let path: String
    let roles: Set<AdminRole>
    let idempotency: Idempotency
    let answer: @Sendable (AdminCall) async throws -> HTTPResponse

    init(
        _ method: String, _ path: String, _ roles: Set<AdminRole>, idempotency: Idempotency = .unused,
        _ answer: @escaping @Sendable (AdminCall) async throws -> HTTPResponse
    ) {
        self.method = method
        self.path = path
        self.roles = roles
        self.idempotency = idempotency
        self.answer = answer
    }
}

extension Set<AdminRole> {
    /// Reading what concerns tenants.
    static let readers: Self = [.owner, .operator, .billing, .viewer]
    /// Changing tenants, keys, quotas, sessions and nodes.
    static let operators: Self = [.owner, .operator]
    /// Reading how the installation is run.
    static let watchers: Self = [.owner, .operator, .viewer]
    /// Changing what tenants pay.
    static let billers: Self = [.owner, .billing]
    /// Other tokens.
    static let owners: Self = [.owner]
}
