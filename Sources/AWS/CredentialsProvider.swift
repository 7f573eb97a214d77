/// The credentials of a process: found in the first source that is set up, renewed ahead of their end, one load at a time.
public actor CredentialsProvider {
    private let sources: [any CredentialsSource]
    private let clock: AWSClock
    private let random: @Sendable () -> Double
    private var lifetime = CredentialsLifetime()
    private var load: Task<AWSCredentials, any Error>?
    private var lastError: any Error = CredentialsError(attempts: [])

    /// Credentials from sources.
    ///
    /// - Parameters:
    ///   - sources: in the order in which they are asked, until one is set up.
    ///   - clock: decides when credentials end.
    ///   - random: within 0 ..< 1; spreads renewals.
    public init(
        sources: [any CredentialsSource], clock: AWSClock = AWSClock(),
        random: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) }
    ) {
        self.sources = sources
        self.clock = clock
        self.random = random
    }

    /// Credentials that serve now. Waits for a source only if there are none, or if they are about to end.
    ///
    /// - Throws: `CredentialsError`, which names every source that was asked.
    public func credentials() async throws -> AWSCredentials {
        switch lifetime.action(at: clock.now) {
        case .use(let credentials):
            return credentials
        case .useAndLoad(let credentials):
            _ = currentLoad()
            return credentials
        case .load:
            return try await currentLoad().value
        case .fail:
            throw lastError
        }
    }

    /// A service refused credentials that had not ended: the next call of `credentials` loads new ones. Credentials that
    /// have been replaced meanwhile are not meant.
    public func refused(_ credentials: AWSCredentials) {
        lifetime.refused(credentials, at: clock.now)
    }

    /// The load under way, or a new one. It belongs to nobody: whoever is cancelled while waiting leaves it to the rest.
    private func currentLoad() -> Task<AWSCredentials, any Error> {
        if let load { return load }
        let task = Task { try await self.loadAndKeep() }
        load = task
        return task
    }

    private func loadAndKeep() async throws -> AWSCredentials {
        defer { load = nil }
        do {
            let credentials = try await loadFromFirstSource()
            lifetime.loaded(credentials, at: clock.now, random: random())
            return credentials
        } catch {
            lastError = error
            guard let old = lifetime.loadFailed(at: clock.now) else { throw error }
            return old
        }
    }

    private func loadFromFirstSource() async throws -> AWSCredentials {
        var attempts: [CredentialsError.Attempt] = []
        for source in sources {
            do {
                let credentials = try await source.load()
                if let flaw = credentials.flaw { throw CredentialsFailure.failed(flaw) }
                guard let end = credentials.expiration, end <= clock.now else { return credentials }
                throw CredentialsFailure.failed("its credentials ended at \(SigningTime(end).timestamp)")
            } catch {
                let failure = error as? CredentialsFailure ?? .failed("\(error)")
                attempts.append(CredentialsError.Attempt(source: source.name, reason: failure.reason))
                if failure.kind == .failed { break }
            }
        }
        throw CredentialsError(attempts: attempts)
    }
}
