public import FoundationEssentials

/// Who signs.
public struct AWSCredentials: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Public: it is part of every signature.
    public var accessKeyID: String
    /// Never sent and never logged.
    public var secretAccessKey: String
    /// Sent with every request, if they are temporary.
    public var sessionToken: String?
    /// When they end; nil is never.
    public var expiration: Date?

    /// Credentials as a source gave them.
    public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil, expiration: Date? = nil) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expiration = expiration
    }

    /// Without the secrets.
    public var description: String { "AWSCredentials(\(accessKeyID))" }
    /// Without the secrets.
    public var debugDescription: String { description }
    /// Without the secrets: `dump` and what tests print of a failure read it.
    public var customMirror: Mirror { Mirror(self, children: ["accessKeyID": accessKeyID]) }

    /// What keeps them from being sent: characters that keys and tokens do not have, such as line breaks of a careless copy.
    var flaw: String? {
        let parts = [
            ("access key ID", accessKeyID), ("secret access key", secretAccessKey), ("session token", sessionToken),
        ]
        return parts.lazy.compactMap { name, value in
            value.map {
                $0.isVisibleASCII ? nil : "its \(name) holds spaces, line breaks or characters that are not ASCII"
            }
        }.first { $0 != nil } ?? nil
    }
}
