/// Why a credential was not accepted. Metrics count by it: it says nothing of the credential itself.
public enum CredentialFault: String, Sendable, CaseIterable {
    /// There is none.
    case missing
    /// It is not of the form that keys and tokens have, or its code is not from this server.
    case malformed
    /// It is well formed, and nobody's: never made, or gone.
    case unknown
    /// An operator has disabled it, and may enable it again.
    case disabled
    /// An operator has revoked it.
    case revoked
    /// Its time is over.
    case expired
}
