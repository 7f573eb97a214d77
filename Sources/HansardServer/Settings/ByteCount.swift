/// A size in bytes.
public struct ByteCount: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The number of bytes, not negative.
    public let bytes: Int

    /// A number of bytes, not negative.
    public init(_ bytes: Int) {
        precondition(bytes >= 0, "a size is not negative")
        self.bytes = bytes
    }

    /// Units of 1,024, largest first.
    private static let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]

    /// Reads `1GiB`, `512MiB`, `64KiB` or a bare number of bytes; nil for anything else, and for what does not fit.
    init?(text: String) {
        let unit = Self.units.first { text.hasSuffix($0.0) }
        let digits = text.dropLast(unit?.0.count ?? 0)
        guard let number = Int(digits), number >= 0, digits.first != "+" else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit?.1 ?? 1)
        if overflow { return nil }
        self.init(bytes)
    }

    /// The form that `init(text:)` reads, in the largest unit that divides it.
    public var description: String {
        guard bytes > 0, let unit = Self.units.first(where: { bytes.isMultiple(of: $0.1) }) else { return "\(bytes)" }
        return "\(bytes / unit.1)\(unit.0)"
    }

    /// Orders by size.
    public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}
