import Crypto
import FoundationEssentials
import Hansard
import Web

/// Recognises callers by what their request carries, in memory and in constant time where secrets are compared.
struct Authenticator: Sendable {
    private let directory: AccessDirectory
    /// The MAC keys of tokens: the first signs, all are accepted, so that one can be rotated.
    private let secrets: [[UInt8]]

    /// - Parameters:
    ///   - directory: the snapshot of tenants and keys.
    ///   - secrets: one or two MAC keys.
    init(directory: AccessDirectory, secrets: [[UInt8]]) {
        precondition(!secrets.isEmpty, "tokens need a MAC key")
        self.directory = directory
        self.secrets = secrets
    }

    /// What a request presents: a key or an access token, by whichever header or subprotocol it came.
    struct Credential: Sendable, Equatable {
        /// The key or the token.
        var secret: String
        /// The subprotocol to echo, if it came as one.
        var subprotocol: String?

        /// Reads `Authorization: Token|Bearer <secret>` (the scheme in any case), else the WebSocket subprotocols
        /// `token, <key>` or `bearer, <token>` that browsers send because they cannot set headers.
        ///
        /// - Throws: `.unauthenticated` if there is none or its form is wrong.
        init(authorization: String?, subprotocols: String?) throws(HansardError) {
            let howTo = "send 'Authorization: Token <API key>'"
            if let authorization {
                let parts = authorization.split(separator: " ", omittingEmptySubsequences: true)
                guard parts.count == 2, ["token", "bearer"].contains(parts[0].lowercased()) else {
                    throw HansardError.unauthenticated(
                        .malformed, "the Authorization header is not of a known form: \(howTo)")
                }
                secret = String(parts[1])
            } else if let subprotocols {
                let items = subprotocols.split(separator: ",").map { $0.trimming(" ") }
                guard items.count == 2, ["token", "bearer"].contains(items[0].lowercased()) else {
                    throw HansardError.unauthenticated(
                        .malformed, "Sec-WebSocket-Protocol is not 'token, <API key>' or 'bearer, <token>'")
                }
                (secret, subprotocol) = (items[1], items[0])
            } else {
                throw HansardError.unauthenticated(.missing, "no credentials: \(howTo)")
            }
        }
    }

    /// Whose key or access token it is.
    ///
    /// - Throws: `.unauthenticated`, `.forbidden`, or `.unavailable` while no snapshot has been read yet, or none in time.
    func caller(_ secret: String, now: Date) throws(HansardError) -> Caller {
        let snapshot = try directory.trusted()
        if secret.hasPrefix(AccessToken.prefix) {
            guard let token = AccessToken(secret, isAuthentic: isAuthentic) else {
                throw HansardError.unauthenticated(
                    .malformed, "the access token is malformed or not from this server")
            }
            return try snapshot.caller(token: token, now: now)
        }
        // The checksum refuses junk before any hashing.
        guard let kind = SecretFormat.kind(of: secret), kind != .adminToken else {
            throw HansardError.unauthenticated(
                .malformed, "the API key is malformed; keys begin with hsk_live_ or hsk_test_")
        }
        let digest = Self.digest(of: secret)
        if snapshot.key(digest) == nil { directory.missed(now: .now) }
        return try snapshot.caller(digest: digest, now: now)
    }

    /// Who a request is counted against, by what it presents: whether it is accepted is another question.
    func holder(of request: HTTPRequest) -> CredentialHolder? {
        guard let snapshot = directory.snapshot, let header = request.headers["authorization"],
            let secret = try? Credential(authorization: header, subprotocols: nil).secret
        else { return nil }
        if secret.hasPrefix(AccessToken.prefix) {
            return AccessToken(secret, isAuthentic: isAuthentic).map { .key($0.key) }
        }
        guard let kind = SecretFormat.kind(of: secret) else { return nil }
        let digest = Self.digest(of: secret)
        if kind == .adminToken { return snapshot.adminTokens[digest].map { .token($0.id) } }
        return snapshot.key(digest).map { .key($0.id) }
    }

    /// Makes a short-lived token for the caller's key, good for listening.
    func grant(to caller: Caller, seconds: Int, now: Date) throws(HansardError) -> String {
        let token = AccessToken(
            key: caller.key.id, expiresAt: Int64(now.timeIntervalSince1970.rounded(.up)) + Int64(seconds),
            scopes: caller.scopes.intersection([.listen]))
        guard let text = token.encoded(authenticate: { HMACSHA256.authenticate($0, key: secrets[0]) }) else {
            throw HansardError(.internal, "the key's public name '\(caller.key.id)' is malformed")
        }
        return text
    }

    /// What is stored of a secret.
    static func digest(of secret: String) -> SecretDigest { SecretDigest(SHA256.hash(Array(secret.utf8))) }

    private func isAuthentic(_ payload: [UInt8], _ code: [UInt8]) -> Bool {
        secrets.contains { secret in
            let expected = HMACSHA256.authenticate(payload, key: secret).prefix(AccessToken.authenticationBytes)
            return constantTimeEquals(Array(expected), code)
        }
    }
}

/// Who holds a credential, by its public name.
enum CredentialHolder: Hashable, Sendable {
    /// An operator's token.
    case token(String)
    /// A tenant's key, or an access token that stands for it.
    case key(KeyID)
}

extension Caller {
    /// Throws `.forbidden` unless the key is accepted from there.
    func requireAddress(_ address: IPAddress) throws(HansardError) {
        guard !key.allowedCIDRs.isEmpty,
            !key.allowedCIDRs.contains(where: { AddressRange($0)?.contains(address) ?? false })
        else { return }
        throw HansardError(.forbidden, "this key is not accepted from \(address)")
    }
}

extension StringProtocol {
    /// Without the given character at both ends.
    func trimming(_ character: Character) -> String {
        var text = self[...]
        while text.first == character { text.removeFirst() }
        while text.last == character { text.removeLast() }
        return String(text)
    }
}
