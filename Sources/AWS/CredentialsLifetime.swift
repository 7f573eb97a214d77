import FoundationEssentials

/// When credentials are used, renewed and no longer used. Decides; the provider does.
///
/// - none: nothing was loaded yet; whoever needs credentials waits for a load.
/// - fresh: used. Becomes due some minutes ahead of its end.
/// - due: used, while they are renewed behind everyone's back.
/// - ending: the last minute; whoever needs credentials waits for a load, and gets the old ones if it fails.
/// - ended or refused: whoever needs credentials waits for a load, and gets its error if it fails.
struct CredentialsLifetime {
    /// How long before their end credentials are due at the latest. IMDS and the container endpoint have new ones from
    /// five minutes ahead on.
    static let refreshWindow: TimeInterval = 300
    /// At most so much sooner, by chance, so that a fleet that started together does not ask together; never more than
    /// a tenth of their life.
    static let refreshJitter: TimeInterval = 120
    /// When an answer may outlive the credentials it is signed with.
    static let endingWindow: TimeInterval = 60
    /// Between loads that fail; doubled each time up to the maximum.
    static let firstPause: TimeInterval = 1
    static let maximumPause: TimeInterval = 30

    /// What to do for someone who needs credentials.
    enum Action: Equatable {
        /// Use these.
        case use(AWSCredentials)
        /// Use these, and load new ones meanwhile.
        case useAndLoad(AWSCredentials)
        /// Wait for a load.
        case load
        /// Say again why the last load failed: it was a moment ago.
        case fail
    }

    private var current: AWSCredentials?
    private var isRefused = false
    private var dueAt = Date.distantFuture
    private var nextLoadAt = Date.distantPast
    private var failures = 0

    func action(at now: Date) -> Action {
        guard let current, !isRefused, !hasEnded(current, at: now) else { return now < nextLoadAt ? .fail : .load }
        if now < dueAt || now < nextLoadAt { return .use(current) }
        return isEnding(current, at: now) ? .load : .useAndLoad(current)
    }

    /// The service refused credentials before their time: those that came before or after them are not meant.
    mutating func refused(_ credentials: AWSCredentials, at now: Date) {
        guard credentials == current, !isRefused else { return }
        isRefused = true
        // A pause after an earlier failure would keep the refused ones from being replaced.
        nextLoadAt = .distantPast
    }

    /// - Parameter random: within 0 ..< 1.
    mutating func loaded(_ credentials: AWSCredentials, at now: Date, random: Double) {
        current = credentials
        isRefused = false
        failures = 0
        nextLoadAt = .distantPast
        guard let end = credentials.expiration else {
            dueAt = .distantFuture
            return
        }
        let life = max(0, end.timeIntervalSince(now))
        // Of a short life the last third is the window, not all of it: else every use would load.
        let window = min(Self.refreshWindow, life / 3) + min(Self.refreshJitter, life / 10) * random
        dueAt = end - window
    }

    /// What those who waited get: the old credentials if they still serve, else nil.
    mutating func loadFailed(at now: Date) -> AWSCredentials? {
        nextLoadAt = now + min(Self.firstPause * Double(1 << min(failures, 10)), Self.maximumPause)
        failures += 1
        return current.flatMap { isRefused || hasEnded($0, at: now) ? nil : $0 }
    }

    private func hasEnded(_ credentials: AWSCredentials, at now: Date) -> Bool {
        credentials.expiration.map { $0 <= now } ?? false
    }

    private func isEnding(_ credentials: AWSCredentials, at now: Date) -> Bool {
        guard let end = credentials.expiration else { return false }
        return end.timeIntervalSince(now) <= min(Self.endingWindow, end.timeIntervalSince(dueAt) / 2)
    }
}
