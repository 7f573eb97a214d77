import Foundation
import Testing

@testable import Hansard

@Suite struct AdmissionTests {
    static let digest = SecretDigest([UInt8](repeating: 1, count: 32))
    static let now = Fixtures.date

    static func snapshot(
        _ change: (inout Tenant, inout APIKey) -> Void = { _, _ in },
        hasTenant: Bool = true
    ) -> AccessSnapshot {
        var tenant = Tenant(id: Fixtures.tenantID, name: "t", createdAt: now)
        var key = APIKey(
            id: Fixtures.keyID,
            tenant: tenant.id,
            name: "k",
            displayPrefix: "p",
            displaySuffix: "s",
            createdAt: now
        )
        change(&tenant, &key)
        return AccessSnapshot(
            position: AccessPosition(sequence: 1, change: UUID()), tenants: hasTenant ? [tenant] : [],
            keys: [(digest, key)])
    }

    static func refusal(_ snapshot: AccessSnapshot, digest: SecretDigest = digest) -> String? {
        do throws(HansardError) {
            _ = try snapshot.caller(digest: digest, now: now)
            return nil
        } catch { return "\(error.code): \(error.message)" }
    }

    @Test func aGoodKeyIsItsTenant() throws {
        let caller = try Self.snapshot().caller(digest: Self.digest, now: Self.now)
        #expect(caller.tenant.id == Fixtures.tenantID && caller.key.id == Fixtures.keyID)
        #expect(caller.scopes == Set(Scope.allCases) && caller.expiresAt == nil)
    }

    @Test func everyRefusal() {
        let unknown = SecretDigest([UInt8](repeating: 2, count: 32))
        #expect(Self.refusal(Self.snapshot(), digest: unknown) == "unauthenticated: the API key is unknown")
        #expect(Self.refusal(Self.snapshot(hasTenant: false)) == "unauthenticated: the API key is unknown")
        #expect(
            Self.refusal(Self.snapshot { $1.isEnabled = false }) == "unauthenticated: the API key has been disabled"
        )
        #expect(Self.refusal(Self.snapshot { $1.expiresAt = Self.now }) == "unauthenticated: the API key has expired")
        #expect(Self.refusal(Self.snapshot { $1.expiresAt = Self.now + 1 }) == nil)
        #expect(
            Self.refusal(Self.snapshot { tenant, _ in tenant.status = .suspended })
                == "forbidden: the tenant is suspended"
        )
    }

    /// Disabled before expired before suspended: nothing is told about the tenant to one whose key is no good.
    @Test func theFirstReasonCounts() {
        let everything = Self.snapshot { tenant, key in
            key.isEnabled = false
            key.expiresAt = Self.now
            tenant.status = .suspended
        }
        #expect(Self.refusal(everything) == "unauthenticated: the API key has been disabled")
        let expired = Self.snapshot { tenant, key in
            key.expiresAt = Self.now
            tenant.status = .suspended
        }
        #expect(Self.refusal(expired) == "unauthenticated: the API key has expired")
    }

    @Test func scopesAreRequired() throws {
        var caller = try Self.snapshot { $1.scopes = [.listen] }.caller(digest: Self.digest, now: Self.now)
        try caller.require(.listen)
        #expect(throws: HansardError(.forbidden, "this key lacks the scope 'usage:read'")) {
            try caller.require(.usageRead)
        }
        caller.scopes = []
        for scope in Scope.allCases { #expect(throws: HansardError.self) { try caller.require(scope) } }
    }

    // MARK: Tokens

    static func tokenRefusal(_ snapshot: AccessSnapshot, expiresIn seconds: Int64, key: KeyID = Fixtures.keyID)
        -> String?
    {
        let token = AccessToken(
            key: key,
            expiresAt: Int64(now.timeIntervalSince1970) + seconds,
            scopes: [.listen]
        )
        do throws(HansardError) {
            _ = try snapshot.caller(token: token, now: now)
            return nil
        } catch { return "\(error.code): \(error.message)" }
    }

    @Test func aTokenStandsForItsKeyAndNoMore() throws {
        let expiry = Int64(Self.now.timeIntervalSince1970) + 30
        let token = AccessToken(key: Fixtures.keyID, expiresAt: expiry, scopes: [.listen, .usageRead])
        let all = try Self.snapshot().caller(token: token, now: Self.now)
        #expect(all.scopes == [.listen, .usageRead])
        let fewer = try Self.snapshot { $1.scopes = [.listen] }.caller(token: token, now: Self.now)
        #expect(fewer.scopes == [.listen])
        #expect(fewer.expiresAt == nil, "the token's expiry binds the handshake only")
    }

    @Test func everyRefusalOfAToken() {
        let expired = "unauthenticated: the access token has expired; get a new one from /v1/auth/grant"
        #expect(Self.tokenRefusal(Self.snapshot(), expiresIn: 0) == expired)
        #expect(Self.tokenRefusal(Self.snapshot(), expiresIn: -1) == expired)
        #expect(Self.tokenRefusal(Self.snapshot(), expiresIn: 1) == nil)
        let unknown = "unauthenticated: the access token's key is unknown"
        #expect(Self.tokenRefusal(Self.snapshot(), expiresIn: 1, key: KeyID("key_other")) == unknown)
        let disabled = "unauthenticated: the API key has been disabled"
        #expect(Self.tokenRefusal(Self.snapshot { $1.isEnabled = false }, expiresIn: 1) == disabled)
        let suspended = "forbidden: the tenant is suspended"
        #expect(Self.tokenRefusal(Self.snapshot { tenant, _ in tenant.status = .suspended }, expiresIn: 1) == suspended)
    }
}
