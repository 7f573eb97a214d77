/// A place that credentials come from: environment, files, or a server nearby.
public protocol CredentialsSource: Sendable {
    /// For errors: `environment`, `IMDS` and so on.
    var name: String { get }
    /// Gives credentials as they are now. Called by one task at a time.
    ///
    /// - Throws: `CredentialsFailure`.
    func load() async throws -> AWSCredentials
}

/// Why a source gave no credentials. Holds no secret.
public struct CredentialsFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// What it means for the sources after it.
    public enum Kind: Sendable, Equatable {
        /// Nobody set this source up: the next one is asked.
        case notConfigured
        /// It is set up and does not serve: going on would mean to act as somebody else.
        case failed
    }

    /// What it means for the sources after it.
    public var kind: Kind
    /// What is missing or wrong, where, and what would be right.
    public var reason: String

    /// A failure.
    public init(_ kind: Kind, _ reason: String) {
        self.kind = kind
        self.reason = reason
    }

    static func notConfigured(_ reason: String) -> CredentialsFailure { CredentialsFailure(.notConfigured, reason) }
    static func failed(_ reason: String) -> CredentialsFailure { CredentialsFailure(.failed, reason) }

    /// For logs.
    public var description: String { reason }
}

/// No source gave credentials.
public struct CredentialsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A source that was asked, and its answer.
    public struct Attempt: Sendable, Equatable {
        /// The source's name.
        public var source: String
        /// Why it did not serve.
        public var reason: String
    }

    /// In the order in which they were asked.
    public var attempts: [Attempt]

    /// For logs: each source and why it did not serve, without secrets.
    public var description: String {
        "no AWS credentials: " + attempts.map { "\($0.source): \($0.reason)" }.joined(separator: "; ")
    }
}

/// Credentials that never change.
public struct FixedCredentials: CredentialsSource {
    /// Says that they were given.
    public let name = "given credentials"
    private let credentials: AWSCredentials

    /// These credentials.
    public init(_ credentials: AWSCredentials) { self.credentials = credentials }

    /// Them.
    public func load() async throws -> AWSCredentials { credentials }
}
