/// A point on, or a stretch of, a session's audio clock: 0 is the first admitted frame, and only admitted audio moves it.
/// It is never wall-clock time.
public struct AudioTime: Comparable, Hashable, Sendable, Codable {
    /// Microseconds of audio.
    public var microseconds: Int64

    /// The beginning.
    public static let zero = AudioTime(microseconds: 0)

    /// A time of that many microseconds.
    public init(microseconds: Int64) { self.microseconds = microseconds }

    /// How long `frames` last at `sampleRate` frames per second, rounded down to the microsecond.
    public init(frames: Int64, sampleRate: Int) {
        let rate = Int64(sampleRate)
        microseconds = frames / rate * 1_000_000 + frames % rate * 1_000_000 / rate
    }

    /// The first frame at or after this time, at `sampleRate` frames per second: the one that `init(frames:sampleRate:)` made it
    /// of, whose microseconds are rounded down.
    func firstFrame(sampleRate: Int) -> Int64 {
        let product = microseconds.multipliedFullWidth(by: Int64(sampleRate))
        let (quotient, remainder) = Int64(1_000_000).dividingFullWidth(product)
        return quotient + (remainder > 0 ? 1 : 0)
    }

    /// A time of that many milliseconds.
    public static func milliseconds(_ value: Int) -> AudioTime { AudioTime(microseconds: Int64(value) * 1_000) }

    /// A time of that many seconds, rounded to the microsecond.
    ///
    /// Engines and documents from elsewhere give numbers of any size: what lies beyond 285 years is taken as that, and
    /// what is no number as 0, so that neither this nor a sum ever traps.
    public static func seconds(_ value: Double) -> AudioTime {
        let microseconds = value.isNaN ? 0 : (value * 1_000_000).rounded()
        return AudioTime(microseconds: Int64(min(max(microseconds, -0x1p53), 0x1p53)))
    }

    /// Seconds, rounded to the millisecond, as messages and transcripts show them.
    public var seconds: Double { Double((microseconds + 500) / 1_000) / 1_000 }

    /// Whole milliseconds, rounded down.
    public var milliseconds: Int64 { microseconds / 1_000 }

    /// Earlier is less.
    public static func < (left: AudioTime, right: AudioTime) -> Bool { left.microseconds < right.microseconds }
    /// The sum of two stretches, or a point moved by one.
    public static func + (left: AudioTime, right: AudioTime) -> AudioTime {
        AudioTime(microseconds: left.microseconds + right.microseconds)
    }
    /// What lies between two points; negative if `right` is later.
    public static func - (left: AudioTime, right: AudioTime) -> AudioTime {
        AudioTime(microseconds: left.microseconds - right.microseconds)
    }

    /// Decodes a bare number of microseconds.
    public init(from decoder: any Decoder) throws {
        microseconds = try decoder.singleValueContainer().decode(Int64.self)
    }
    /// Encodes a bare number of microseconds.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(microseconds)
    }
}
