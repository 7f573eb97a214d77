/// Durations as people write them in settings: a whole number and `ms`, `s`, `m` or `h`.
enum DurationText {
    /// Largest first; `ms` before `s` and `m`, which it ends or begins with.
    private static let units: [(suffix: String, milliseconds: Int64)] = [
        ("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000),
    ]

    /// Reads `500ms`, `30s`, `2m` or `1h`; nil for anything else: a number without a unit could mean either.
    static func parse(_ text: String) -> Duration? {
        guard let unit = units.first(where: { text.hasSuffix($0.suffix) }) else { return nil }
        let digits = text.dropLast(unit.suffix.count)
        guard let number = Int64(digits), number >= 0, digits.first != "+" else { return nil }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
        return overflow ? nil : .milliseconds(milliseconds)
    }

    /// The form that `parse` reads, in the largest unit that divides it; below a millisecond is cut off.
    static func format(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = seconds * 1_000 + attoseconds / 1_000_000_000_000_000
        let larger = units.sorted { $0.milliseconds > $1.milliseconds }
        // The last unit, a millisecond, divides everything; no time at all reads best as `0s`.
        let unit = milliseconds == 0 ? ("s", 1_000) : larger.first { milliseconds % $0.milliseconds == 0 } ?? ("ms", 1)
        return "\(milliseconds / unit.1)\(unit.0)"
    }
}
