import Crypto
import FoundationEssentials
import Hansard
import Postgres
import Web

/// What a call that changes something answers, and what the audit log gets of it.
struct AdminAnswer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    /// What the caller gets.
    var body: [UInt8]
    /// What is kept for a repeated call, where that must not be the same: a secret is shown once.
    var bodyWhenRepeated: [UInt8]?
    var target: AuditEntry.Target
    /// The chain of the audit log; nil is the installation's.
    var tenant: TenantID?
    /// The resource before and after, as JSON; nil where there was or is none.
    var before: [UInt8]?
    var after: [UInt8]?

    var response: HTTPResponse { HTTPResponse(status: status, headers: HTTPHeaders(status, headers), body: body) }
}

extension AdminAnswer {
    /// The one answer that has a secret; a repeated call gets the same without it, and with a word why.
    ///
    /// - Parameter write: writes the resource, which the audit log gets as well.
    init(
        made target: AuditEntry.Target, of tenant: TenantID? = nil, headers: [(String, String)] = [],
        secret: (name: StaticString, value: String), write: (inout JSONText) -> Void
    ) {
        func document(_ last: (inout JSONText) -> Void) -> [UInt8] {
            var text = JSONText()
            text.object { text in
                write(&text)
                last(&text)
            }
            return text.bytes
        }
        self.init(
            status: 201, headers: headers, body: document { $0.field(secret.name, secret.value) },
            bodyWhenRepeated: document { $0.field("code", "secret_shown_once") }, target: target, tenant: tenant,
            after: document { _ in })
    }
}

extension HTTPHeaders {
    /// Those of a JSON document.
    init(json more: [(String, String)]) { self.init(200, more) }

    /// Those of an answer, which is a JSON document unless it has no content.
    init(_ status: Int, _ more: [(String, String)]) {
        self = status == 204 ? [:] : ["Content-Type": "application/json"]
        for (name, value) in more { add(name, value) }
    }
}

/// Runs the calls that change something: the change, the audit log's entry and the answer for a repeated call are one
/// transaction, so that none is there without the others.
struct AdminTransactions: Sendable {
    /// How long answers are kept for repeated calls.
    static let keptHours = 24
    /// Old answers that each call with a key takes out.
    static let purged = 10

    let pool: ConnectionPool
    let access: AccessDirectory

    /// Runs `change` in a transaction that sees all tenants, and answers what it says, or what an earlier call with the
    /// same `Idempotency-Key` was answered.
    ///
    /// - Throws: what `change` throws; then nothing was done. `.invalid` if the key is missing or malformed,
    ///   `.contradictory` if it came with another body before, `.conflict` if that call is still running.
    func run(
        _ call: AdminCall, _ action: String, _ change: @Sendable (Connection) async throws -> AdminAnswer
    ) async throws -> HTTPResponse {
        let key = try IdempotencyKey(call)
        let response = try await pool.asOperator { connection in
            if let key, let kept = try await kept(key, on: connection) { return kept }
            let answer = try await change(connection)
            try await connection.append(entry(call, action, answer))
            if let key { try await keep(answer, key, on: connection) }
            return answer.response
        }
        // So that what was changed is so on this node when the caller hears of it. Others hear of it at the same moment.
        try? await access.refresh()
        return response
    }

    /// Runs a change that is longer than one transaction should be: it is begun in one, and in the audit log from then on, and
    /// finished in another. Whoever makes the call again, because it did not get so far, goes on where it ended; two calls that are
    /// at work both do it, and it must be harmless that they do.
    ///
    /// - Parameters:
    ///   - begin: what must be so before the work; throws if it must not be done.
    ///   - work: what comes between.
    ///   - finish: what is so when it is done.
    func runInSteps(
        _ call: AdminCall, _ action: (begun: String, finished: String),
        begin: @Sendable (Connection) async throws -> AdminAnswer, work: () async throws -> Void,
        finish: @Sendable (Connection) async throws -> AdminAnswer
    ) async throws -> HTTPResponse {
        let key = try IdempotencyKey(call)
        let repeated = try await pool.asOperator { connection -> HTTPResponse? in
            if let key, let kept = try await kept(key, on: connection) { return kept }
            try await connection.append(entry(call, action.begun, try await begin(connection)))
            return nil
        }
        if let repeated { return repeated }
        try await work()
        return try await pool.asOperator { connection in
            let answer = try await finish(connection)
            try await connection.append(entry(call, action.finished, answer))
            if let key { try await keep(answer, key, on: connection) }
            return answer.response
        }
    }

    /// Runs a change in another store than the database, which cannot be one step with its entry in the audit log: the entry
    /// is written before it (`AuditLog.noting` says why), the answer for a repeated call after it, since it must not be told
    /// what did not happen. Two calls at once with one key may both do it; it must be harmless to repeat.
    ///
    /// - Parameters:
    ///   - find: what is to be changed, and whose it is; throws if it is not there.
    ///   - change: changes it.
    func runElsewhere(
        _ call: AdminCall, _ action: String,
        find: @Sendable () async throws -> (tenant: TenantID, target: AuditEntry.Target),
        change: @Sendable (TenantID) async throws -> Void
    ) async throws -> HTTPResponse {
        let (tenant, target) = try await find()
        let answer = AdminAnswer(status: 204, body: [], target: target, tenant: tenant)
        let (log, entry) = (PostgresAuditLog(pool: pool), entry(call, action, answer))
        try await log.append(entry)
        try await log.noting(entry) { try await change(tenant) }
        // It is done: that the answer could not be kept must not look as if it were not.
        if let key = try IdempotencyKey(call) { try? await pool.asOperator { try await keep(answer, key, on: $0) } }
        return answer.response
    }

    /// Records that the token did not allow a call: in the tenant's chain if the caller may know of the tenant.
    func denied(_ call: AdminCall) async throws {
        let target = call.namedTenant.map { AuditEntry.Target("tenant", $0.description) }
        try await PostgresAuditLog(pool: pool).append(
            AuditEntry(
                "\(call.route.method) \(call.route.path)", by: call.caller.actor, tenant: try? call.tenant,
                target: target ?? .init("route", call.route.path), call.match, at: call.now, outcome: .denied))
    }

    private func entry(_ call: AdminCall, _ action: String, _ answer: AdminAnswer) -> AuditEntry {
        let changes = [("before", answer.before), ("after", answer.after)].compactMap { name, json in
            json.map { "\"\(name)\":" + String(decoding: $0, as: UTF8.self) }
        }
        return AuditEntry(
            action, by: call.caller.actor, tenant: answer.tenant, target: answer.target, call.match,
            at: call.now, changes: "{" + changes.joined(separator: ",") + "}")
    }

    // MARK: Repeated calls

    /// What an earlier call with the same key was answered; nil if it is the first.
    ///
    /// - Throws: `.contradictory` if the key came with another body before, `.conflict` if that call is still running.
    func kept(_ key: IdempotencyKey) async throws -> HTTPResponse? {
        try await pool.asOperator { try await kept(key, on: $0) }
    }

    private func kept(_ key: IdempotencyKey, on connection: Connection) async throws -> HTTPResponse? {
        // Whoever holds it is at work on the same call; its answer is not there yet.
        let lock = try await connection.query(
            """
            SELECT pg_try_advisory_xact_lock(hashtextextended(\(key.caller + " " + key.route + " " + key.text), 1)) AS taken
            """
        ).only()
        guard try lock.value("taken") else {
            throw HansardError(
                .conflict, "a call with this Idempotency-Key is running; repeat it in a moment",
                retryAfter: .seconds(1))
        }
        let rows = try await connection.query(
            """
            SELECT * FROM kept_answers WHERE caller = \(key.caller) AND route = \(key.route)
                AND idempotency_key = \(key.text) AND kept_at > now() - make_interval(hours => \(Self.keptHours)::int)
            """)
        guard let row = rows.first else { return nil }
        guard try row.value("fingerprint", as: [UInt8].self) == key.fingerprint else {
            throw HansardError(
                .contradictory, "this Idempotency-Key came before with another path or body", field: "idempotency-key")
        }
        let headers = try JSONDecoder().decode(
            [[String]].self, from: Data(try row.value("headers", as: String.self).utf8))
        let status: Int = try row.value("status")
        var response = HTTPResponse(
            status: status, headers: HTTPHeaders(status, headers.map { ($0[0], $0[1]) }),
            body: Array(try row.value("body", as: String.self).utf8))
        response.headers.add("Idempotent-Replayed", "true")
        return response
    }

    private func keep(_ answer: AdminAnswer, _ key: IdempotencyKey, on connection: Connection) async throws {
        let headers = try JSONEncoder().encode(answer.headers.map { [$0.0, $0.1] })
        try await connection.execute(
            """
            INSERT INTO kept_answers (caller, route, idempotency_key, fingerprint, status, headers, body)
            VALUES (\(key.caller), \(key.route), \(key.text), \(key.fingerprint), \(answer.status),
                \(String(decoding: headers, as: UTF8.self))::jsonb,
                \(String(decoding: answer.bodyWhenRepeated ?? answer.body, as: UTF8.self)))
            ON CONFLICT (caller, route, idempotency_key) DO UPDATE
            SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
                body = excluded.body, kept_at = now()
            """)
        try await connection.execute(
            """
            DELETE FROM kept_answers WHERE (caller, route, idempotency_key) IN (
                SELECT caller, route, idempotency_key FROM kept_answers
                WHERE kept_at < now() - make_interval(hours => \(Self.keptHours)::int)
                ORDER BY kept_at LIMIT \(Self.purged) FOR UPDATE SKIP LOCKED)
            """)
    }
}

/// What tells a repeated call from another one (draft-ietf-httpapi-idempotency-key-header-07).
struct IdempotencyKey: Sendable, Equatable {
    static let maximumLength = 255

    let caller: String
    let route: String
    let text: String
    let fingerprint: [UInt8]

    /// nil if there is none and none is needed.
    ///
    /// - Throws: `.invalid` if it is missing where it is required, or not 1 to 255 visible ASCII characters.
    init?(_ call: AdminCall) throws(HansardError) {
        guard call.route.idempotency != .unused else { return nil }
        guard let header = call.match.request.headers["idempotency-key"] else {
            guard call.route.idempotency == .required else { return nil }
            throw HansardError(
                .invalid,
                "this call creates something: send an Idempotency-Key header, such as a UUID, so that it can "
                    + "be repeated without harm", field: "idempotency-key")
        }
        // The draft has a quoted string, and most clients send it bare. Escapes in it would make two texts of one key.
        let isQuoted = header.utf8.count >= 2 && header.hasPrefix("\"") && header.hasSuffix("\"")
        let text = isQuoted ? String(header.dropFirst().dropLast()) : header
        guard 1...Self.maximumLength ~= text.utf8.count,
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "\"") }),
            !isQuoted || !text.utf8.contains(UInt8(ascii: "\\"))
        else {
            throw HansardError(
                .invalid,
                "Idempotency-Key must be 1 to \(Self.maximumLength) visible ASCII characters, bare or in double quotes",
                field: "idempotency-key")
        }
        self.text = text
        caller = call.caller.actor.id
        route = "\(call.route.method) \(call.route.path)"
        fingerprint = SHA256.hash(Array(call.match.request.path.utf8) + [0] + call.match.request.body)
    }
}
