public import FoundationEssentials

/// A transcript as a list shows it.
public struct TranscriptEntry: Sendable, Equatable {
    /// Which session.
    public var session: SessionID
    /// When it began, to the millisecond; it is part of the session's id.
    public var startedAt: Date
    /// Bytes of the stored document.
    public var size: Int

    /// An entry as a store lists it.
    public init(session: SessionID, startedAt: Date, size: Int) {
        self.session = session
        self.startedAt = startedAt
        self.size = size
    }
}

/// Where transcripts are kept.
///
/// A session's id carries its start (`SessionID.startedAt`), so that its tenant and id are enough to find the object
/// and to list newest first: no index is needed beside the objects. Conformers may be called from any task. They throw
/// `HansardError` with code `.unavailable` if the store is away or full.
public protocol TranscriptStore: Sendable {
    /// Stores a transcript durably: once this returns, a power failure does not lose it. Repeating it is harmless.
    ///
    /// - Returns: where it is, in the store's own terms.
    func put(_ transcript: Transcript) async throws -> String
    /// Reads a transcript; nil if there is none of that tenant and session.
    func get(_ session: SessionID, tenant: TenantID) async throws -> Transcript?
    /// Where `put` stores a session's transcript, in the store's own terms. Whether there is one is not looked at.
    func location(of session: SessionID, tenant: TenantID) -> String
    /// Lists a tenant's transcripts, newest first.
    ///
    /// - Parameters:
    ///   - before: the last entry of the page before; nil begins at the newest.
    ///   - limit: 1...100.
    func list(tenant: TenantID, before: SessionID?, limit: Int) async throws -> [TranscriptEntry]
    /// Removes a transcript for good. That there is none is no error.
    func delete(_ session: SessionID, tenant: TenantID) async throws
    /// An address from which anyone who has it can read the stored document until the time is over; nil if the store gives
    /// out none. Whether there is such a transcript is not looked at.
    ///
    /// - Parameter validFor: 1 second to 7 days.
    func downloadURL(of session: SessionID, tenant: TenantID, validFor: Duration) async throws -> String?
    /// Whether the store can be reached and written to.
    func checkHealth() async throws
}

extension TranscriptStore {
    /// The object's name.
    public func location(of session: SessionID, tenant: TenantID) -> String {
        Self.objectName(session, tenant: tenant)
    }

    /// None: what most stores give out.
    public func downloadURL(of session: SessionID, tenant: TenantID, validFor: Duration) async throws -> String? { nil }

    /// The object's name below the store's root: `<tenant>/<yyyy>/<mm>/<dd>/<session>.json`, by the session's start in UTC.
    public static func objectName(_ session: SessionID, tenant: TenantID) -> String {
        "\(tenant)/\(dayPath(of: session.startedAt))/\(session).json"
    }

    /// `yyyy/mm/dd` in UTC.
    public static func dayPath(of date: Date) -> String {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        let day = calendar.dateComponents([.year, .month, .day], from: date)
        let padded = [(day.year ?? 0, 4), (day.month ?? 0, 2), (day.day ?? 0, 2)].map { value, width in
            String(repeating: "0", count: max(0, width - String(value).count)) + String(value)
        }
        return padded.joined(separator: "/")
    }
}

extension SessionID {
    /// A new id: a UUID version 7 (RFC 9562 section 5.7), which begins with the session's start in milliseconds.
    ///
    /// - Parameters:
    ///   - startedAt: the session's start.
    ///   - random: 10 bytes of a cryptographic source.
    public init(startedAt: Date, random: [UInt8]) {
        precondition(random.count == 10, "a version 7 UUID holds 10 random bytes")
        // A `Date` counts from 2001 in binary: a whole millisecond may come out a hair below itself.
        let milliseconds = UInt64(max(0, startedAt.timeIntervalSince1970 * 1_000 + 0.001))
        let time = (0..<6).map { UInt8(truncatingIfNeeded: milliseconds >> (40 - 8 * UInt64($0))) }
        self.init(
            UUID(
                uuid: (
                    time[0], time[1], time[2], time[3], time[4], time[5], random[0] & 0x0F | 0x70, random[1],
                    random[2] & 0x3F | 0x80, random[3], random[4], random[5], random[6], random[7], random[8],
                    random[9]
                )))
    }

    /// When the session began, to the millisecond.
    public var startedAt: Date {
        let bytes = rawValue.uuid
        let milliseconds = [bytes.0, bytes.1, bytes.2, bytes.3, bytes.4, bytes.5].reduce(UInt64(0)) {
            $0 << 8 | UInt64($1)
        }
        return Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    }
}
