/// A bucket and a place in it, as `s3://bucket/prefix` names them.
public struct S3Location: Sendable, Equatable, CustomStringConvertible {
    /// By the rules of `isBucketName`.
    public let bucket: String
    /// Without `/` at either end; empty is the bucket's root.
    public let prefix: String

    /// Reads `s3://bucket`, `s3://bucket/` or `s3://bucket/prefix`, where the prefix may hold further `/`.
    ///
    /// - Returns: nil if it is none of these, or if the bucket cannot exist, or if the prefix has an empty, `.` or `..`
    ///   part (which HTTP clients and servers on the way would take out) or a control character.
    public init?(_ text: String) {
        guard text.hasPrefix("s3://") else { return nil }
        let parts = text.dropFirst(5).split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let bucket = parts.first.map(String.init), Self.isBucketName(bucket) else { return nil }
        var prefix = parts.count > 1 ? parts[1] : ""
        if prefix.hasSuffix("/") { prefix.removeLast() }
        let isPart = { (part: Substring) in !["", ".", ".."].contains(part) }
        let hasControls = prefix.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }
        guard prefix.isEmpty || prefix.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(isPart),
            !hasControls, prefix.utf8.count <= 512
        else { return nil }
        self.bucket = bucket
        self.prefix = String(prefix)
    }

    /// Whether a bucket can have this name: 3 to 63 lower-case letters, digits, dots and hyphens that begin and end
    /// with a letter or digit, no two dots together
    /// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
    public static func isBucketName(_ name: String) -> Bool {
        let isLetterOrDigit = { (byte: UInt8) in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        let bytes = Array(name.utf8)
        guard (3...63).contains(bytes.count), let first = bytes.first, let last = bytes.last else { return false }
        return isLetterOrDigit(first) && isLetterOrDigit(last) && !name.contains("..")
            && bytes.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    }

    /// `s3://bucket/prefix`.
    public var description: String { "s3://\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)") }

    /// The key of a name below the prefix.
    public func key(_ name: String) -> String { prefix.isEmpty ? name : "\(prefix)/\(name)" }
}
