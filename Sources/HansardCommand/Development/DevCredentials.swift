import Crypto
import Foundation
import Hansard
import HansardServer

/// The tenant, the key and the admin token that somebody who tries Hansard needs.
struct DevCredentials {
    /// The tenant's name.
    static let tenantName = "demo"

    /// The key, secret part included.
    var apiKey: String
    /// The admin token, secret part included.
    var adminToken: String
    /// What was made just now, for people.
    var made: [String]

    /// Takes those of `dev.env` if the store knows them, and makes what is missing.
    static func establish(in store: some TenantStore, known: DevEnvironmentFile?) async throws -> DevCredentials {
        var made: [String] = []
        let tenant: Tenant
        if let found = try await store.tenant(named: tenantName) {
            tenant = found
        } else {
            tenant = Tenant(id: TenantID(UUID()), name: tenantName, createdAt: Date())
            try await store.create(tenant)
            made.append("tenant \(tenantName)")
        }
        let apiKey: String
        if let key = known?.apiKey, try await isUsable(key, of: tenant, in: store) {
            apiKey = key
        } else {
            apiKey = try await makeKey(for: tenant, in: store)
            made.append(reason(isFirst: made.count == 1, hadKey: known?.apiKey != nil))
        }
        let adminToken: String
        if let token = known?.adminToken, try await store.adminToken(digest: digest(of: token)) != nil {
            adminToken = token
        } else {
            adminToken = try await makeAdminToken(in: store)
            made.append("an admin token")
        }
        return DevCredentials(apiKey: apiKey, adminToken: adminToken, made: made)
    }

    /// A secret is not stored, so a key whose file is gone cannot be shown again: there must be another.
    private static func reason(isFirst: Bool, hadKey: Bool) -> String {
        let file = DevEnvironmentFile.name
        if hadKey { return "a new key, since the server does not know the one in \(file)" }
        return isFirst ? "a key" : "a new key, since \(file) had none (older keys stay valid)"
    }

    private static func isUsable(_ secret: String, of tenant: Tenant, in store: some TenantStore) async throws -> Bool {
        guard SecretFormat.kind(of: secret) != nil else { return false }
        guard let key = try await store.accessSnapshot().key(digest(of: secret)) else { return false }
        return key.tenant == tenant.id && key.isEnabled && key.expiresAt.map { $0 > Date() } ?? true
    }

    private static func makeKey(for tenant: Tenant, in store: some TenantStore) async throws -> String {
        let secret = SecretFormat.make(.testKey, random: SecureRandom.bytes(count: SecretFormat.randomBytes))
        let display = SecretFormat.display(secret, kind: .testKey)
        let key = APIKey(
            id: KeyID(makeName("key_")),
            tenant: tenant.id,
            name: "hansard dev",
            displayPrefix: display.prefix,
            displaySuffix: display.suffix,
            createdAt: Date()
        )
        try await store.create(key, digest: digest(of: secret))
        return secret
    }

    private static func makeAdminToken(in store: some TenantStore) async throws -> String {
        let secret = SecretFormat.make(.adminToken, random: SecureRandom.bytes(count: SecretFormat.randomBytes))
        let token = AdminToken(id: makeName("adm_"), name: "hansard dev", role: .owner, createdAt: Date())
        try await store.create(token, digest: digest(of: secret))
        return secret
    }

    private static func makeName(_ prefix: String) -> String {
        SecretFormat.makeName(prefix: prefix, random: SecureRandom.bytes(count: SecretFormat.nameBytes))
    }

    private static func digest(of secret: String) -> SecretDigest { SecretDigest(SHA256.hash(Array(secret.utf8))) }
}
