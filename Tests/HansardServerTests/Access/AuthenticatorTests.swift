import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// Who is recognised, and what everyone else is told.
@Suite struct AuthenticatorTests {
    static let now = moment(1_000)
    static let secrets: [[UInt8]] = [Array("first secret".utf8), Array("second secret".utf8)]
    let store = MemoryTenantStore()
    let directory: AccessDirectory
    let authenticator: Authenticator

    init() async throws {
        store.set(
            tenants: [
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)),
                Tenant(id: Sample.otherTenant, name: "two", status: .suspended, createdAt: moment(0)),
            ],
            keys: [
                Sample.apiKey(1), Sample.apiKey(2, isEnabled: false), Sample.apiKey(3, expiresAt: moment(1_000)),
                Sample.apiKey(4, expiresAt: moment(1_001)), Sample.apiKey(5, tenant: Sample.otherTenant),
                Sample.apiKey(6, scopes: [.transcriptsRead]), Sample.apiKey(7, scopes: [.listen]),
            ])
        directory = AccessDirectory(store: store, logger: LogRecorder().logger)
        try await directory.refresh()
        authenticator = Authenticator(directory: directory, secrets: Self.secrets)
    }

    private func caller(_ secret: String, now: Date = now) throws(HansardError) -> Caller {
        try authenticator.caller(secret, now: now)
    }

    private func refusal(_ secret: String, now: Date = now) -> HansardError? {
        do {
            _ = try caller(secret, now: now)
            return nil
        } catch {
            return error
        }
    }

    @Test func aKeyIsRecognised() throws {
        let caller = try caller(Sample.secret(1))
        #expect(caller.tenant.id == Sample.tenant)
        #expect(caller.key == Sample.apiKey(1).1)
        #expect(caller.scopes == Set(Scope.allCases))
        #expect(try self.caller(Sample.secret(4)).expiresAt == moment(1_001))
    }

    @Test func everyoneElseIsRefused() throws {
        #expect(refusal(Sample.secret(2))?.message.contains("disabled") == true)
        #expect(refusal(Sample.secret(3))?.message.contains("expired") == true)
        #expect(refusal(Sample.secret(99))?.message.contains("unknown") == true)
        for number: UInt8 in [2, 3, 99] { #expect(refusal(Sample.secret(number))?.code == .unauthenticated) }
        #expect(refusal(Sample.secret(5))?.code == .forbidden)
        #expect(refusal(Sample.secret(5))?.message.contains("suspended") == true)
    }

    @Test func junkIsRefusedByItsForm() {
        let good = Sample.secret(1)
        var junk = [
            "", "x", "hsk_", "hsk_live_", good + "A", String(good.dropLast()), good.uppercased(), " " + good,
            good.replacing("hsk_live_", with: "hsk_test_"), good.replacing("hsk_live_", with: "hsk_prod_"),
            "0123456789abcdef0123456789abcdef01234567", "hst_", "hst_AAAA",
        ]
        // The checksum notices any one wrong character.
        for index in [9, 20, 40, 52, 57] {
            var wrong = Array(good)
            wrong[index] = wrong[index] == "a" ? "b" : "a"
            junk.append(String(wrong))
        }
        for secret in junk {
            #expect(refusal(secret)?.code == .unauthenticated, "\(secret)")
            #expect(refusal(secret)?.message.contains("malformed") == true, "\(secret)")
        }
    }

    /// What metrics count by.
    @Test func eachRefusalSaysWhatIsTheMatter() async throws {
        let faults: [(String, CredentialFault)] = [
            (Sample.secret(99), .unknown), (Sample.secret(2), .disabled), (Sample.secret(3), .expired),
            ("hsk_live_x", .malformed), ("hst_AAAA", .malformed), (Sample.secret(1, .adminToken), .malformed),
        ]
        for (secret, fault) in faults { #expect(refusal(secret)?.credential == fault, "\(fault)") }
        #expect(refusal(Sample.secret(5))?.credential == nil, "the key is good, its tenant is suspended")
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 30, now: Self.now)
        #expect(refusal(token, now: Self.now + 30)?.credential == .expired)
        var (digest, revoked) = Sample.apiKey(1, isEnabled: false)
        revoked.revokedAt = moment(0)
        store.set(
            tenants: [Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))], keys: [(digest, revoked)])
        try await directory.refresh()
        #expect(refusal(Sample.secret(1))?.credential == .revoked)
        #expect(throws: HansardError.unauthenticated(.missing, "no credentials: send 'Authorization: Token <API key>'"))
        {
            try Authenticator.Credential(authorization: nil, subprotocols: nil)
        }
    }

    /// Requests are counted against whoever holds the credential, whether it is accepted or not.
    @Test func aRequestIsItsHolders() throws {
        func holder(_ secret: String?) -> CredentialHolder? {
            authenticator.holder(of: REST.request("GET", "/v1/transcripts", key: secret))
        }
        #expect(holder(Sample.secret(1)) == .key(Sample.apiKey(1).1.id))
        #expect(holder(Sample.secret(2)) == .key(Sample.apiKey(2).1.id))
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 30, now: Self.now)
        #expect(holder(token) == .key(Sample.apiKey(1).1.id))
        for junk in [nil, "", "junk", Sample.secret(99), "hst_AAAA", Sample.secret(1, .adminToken)] {
            #expect(holder(junk) == nil)
        }
    }

    @Test func anAdminTokenIsNoKey() {
        let error = refusal(Sample.secret(1, .adminToken))
        #expect(error?.code == .unauthenticated)
        #expect(error?.message.contains("hsk_live_") == true)
    }

    @Test func noRefusalRepeatsTheSecret() {
        for secret in [Sample.secret(2), Sample.secret(3), Sample.secret(5), Sample.secret(99), "hsk_live_abcdefgh"] {
            #expect(refusal(secret)?.message.contains(secret) == false)
        }
    }

    @Test func nothingIsDecidedBeforeTheFirstSnapshot() async {
        let empty = AccessDirectory(store: store, logger: LogRecorder().logger)
        let authenticator = Authenticator(directory: empty, secrets: Self.secrets)
        let error = #expect(throws: HansardError.self) {
            try authenticator.caller(Sample.secret(1), now: Self.now)
        }
        #expect(error?.code == .unavailable)
        #expect(error?.retryAfter != nil)
    }

    /// At the limit it still counts; beyond it nobody is recognised, until the store answers again.
    @Test func knowledgeMayBecomeTooOld() async throws {
        let time = Locked(ContinuousClock.now)
        let directory = AccessDirectory(
            store: store, logger: LogRecorder().logger, stalenessMax: .seconds(300), now: { time.withLock { $0 } })
        let authenticator = Authenticator(directory: directory, secrets: Self.secrets)
        try await directory.refresh()
        let token = try authenticator.grant(
            to: try authenticator.caller(Sample.secret(1), now: Self.now), seconds: 3_600, now: Self.now)
        time.withLock { $0 += .seconds(300) }
        #expect(!directory.isStale)
        _ = try authenticator.caller(Sample.secret(1), now: Self.now)
        time.withLock { $0 += .milliseconds(12_001) }
        #expect(directory.isStale)
        #expect(directory.age == .milliseconds(312_001))
        for secret in [Sample.secret(1), Sample.secret(99), token, "junk"] {
            let error = #expect(throws: HansardError.self) { try authenticator.caller(secret, now: Self.now) }
            #expect(error?.code == .unavailable)
            #expect(error?.message.contains("for 312 s") == true && error?.message.contains("for 5m") == true)
            #expect(error?.retryAfter != nil)
        }
        store.faults.set(.away, for: ["accessPosition"])
        await #expect(throws: (any Error).self) { try await directory.refresh() }
        #expect(directory.isStale)
        store.faults.clear()
        try await directory.refresh()
        #expect(!directory.isStale)
        _ = try authenticator.caller(Sample.secret(1), now: Self.now)
    }

    /// Without a limit a day, or a year, without the store does not matter.
    @Test func withoutALimitKnowledgeDoesNotAge() async throws {
        let time = Locked(ContinuousClock.now)
        let directory = AccessDirectory(store: store, logger: LogRecorder().logger, now: { time.withLock { $0 } })
        try await directory.refresh()
        time.withLock { $0 += .seconds(366 * 86_400) }
        #expect(!directory.isStale)
        _ = try Authenticator(directory: directory, secrets: Self.secrets).caller(Sample.secret(1), now: Self.now)
    }

    // MARK: Access tokens

    @Test func aTokenStandsForItsKey() throws {
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 30, now: Self.now)
        #expect(token.hasPrefix("hst_"))
        #expect(token.utf8.count <= 60, "libwebsockets drops longer subprotocols")
        let caller = try caller(token)
        #expect(caller.key.id == Sample.apiKey(1).1.id)
        #expect(caller.tenant.id == Sample.tenant)
        #expect(caller.scopes == [.listen], "a token is for listening alone")
    }

    @Test func aTokenNeverGivesMoreThanItsKey() throws {
        let token = try authenticator.grant(to: try caller(Sample.secret(6)), seconds: 30, now: Self.now)
        #expect(try caller(token).scopes.isEmpty)
    }

    @Test func aTokenExpiresOnTheSecond() throws {
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 30, now: Self.now)
        #expect(refusal(token, now: Self.now + 29.9) == nil)
        #expect(refusal(token, now: Self.now + 30)?.message.contains("expired") == true)
        #expect(refusal(token, now: Self.now + 30)?.code == .unauthenticated)
    }

    @Test func aTokenFallsWithItsKey() async throws {
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 3_600, now: Self.now)
        let tenants = [Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))]
        store.set(tenants: tenants, keys: [Sample.apiKey(1, isEnabled: false)])
        try await directory.refresh()
        #expect(refusal(token)?.message.contains("disabled") == true)
        store.set(tenants: tenants, keys: [])
        try await directory.refresh()
        #expect(refusal(token)?.message.contains("unknown") == true)
    }

    @Test func anyChangedCharacterSpoilsAToken() throws {
        let token = try authenticator.grant(to: try caller(Sample.secret(1)), seconds: 30, now: Self.now)
        let characters = Array(token)
        for index in characters.indices.dropFirst(4) {
            var changed = characters
            changed[index] = changed[index] == "A" ? "B" : "A"
            #expect(refusal(String(changed))?.code == .unauthenticated, "character \(index)")
        }
        for changed in [token + "AA", String(token.dropLast()), token + "=", token + "\n"] {
            #expect(refusal(changed)?.code == .unauthenticated)
        }
    }

    @Test func secretsCanBeRotated() throws {
        let old = Authenticator(directory: directory, secrets: [Self.secrets[1]])
        let both = authenticator
        let new = Authenticator(directory: directory, secrets: [Self.secrets[0]])
        let caller = try caller(Sample.secret(1))
        let fromOld = try old.grant(to: caller, seconds: 30, now: Self.now)
        let fromBoth = try both.grant(to: caller, seconds: 30, now: Self.now)
        #expect(try both.caller(fromOld, now: Self.now).key == caller.key)
        #expect(try new.caller(fromBoth, now: Self.now).key == caller.key, "the first secret signs")
        #expect(throws: HansardError.self) { try new.caller(fromOld, now: Self.now) }
        #expect(throws: HansardError.self) { try old.caller(fromBoth, now: Self.now) }
    }
}

/// The node's snapshot of tenants and keys.
@Suite struct AccessDirectoryTests {
    @Test func theSnapshotIsReadOnlyWhenSomethingChanged() async throws {
        let store = MemoryTenantStore()
        store.set(tenants: [Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))], keys: [Sample.apiKey(1)])
        let directory = AccessDirectory(store: store, logger: LogRecorder().logger)
        #expect(directory.snapshot == nil)
        #expect(directory.age == nil)
        try await directory.refresh()
        try await directory.refresh()
        #expect(store.faults.calls == ["accessSnapshot", "accessPosition"])
        #expect(directory.snapshot?.keys.count == 1)
        store.set(tenants: [], keys: [])
        try await directory.refresh()
        #expect(directory.snapshot?.keys.isEmpty == true)
        #expect(directory.age != nil)
    }

    @Test func whatIsKnownOutlivesTheStore() async throws {
        let store = MemoryTenantStore()
        store.set(tenants: [Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))], keys: [Sample.apiKey(1)])
        let log = LogRecorder()
        let directory = AccessDirectory(store: store, logger: log.logger)
        try await directory.refresh()
        store.faults.set(.away, for: ["accessPosition"])
        store.faults.forgetCalls()
        let task = Task { await directory.keepFresh() }
        try await eventually("two polls") { store.faults.calls.count >= 2 }
        #expect(directory.snapshot?.keys.count == 1)
        #expect(log.count(of: "cannot be read", atLeast: .warning) == 1, "one line, not one for each poll")
        store.faults.clear()
        try await eventually("fresh again") { log.count(of: "fresh again") == 1 }
        task.cancel()
        await task.value
    }
}
