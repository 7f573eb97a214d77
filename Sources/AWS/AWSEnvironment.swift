import Foundation

/// What a process is given to find its settings by: variables and files. Tests give others.
public struct AWSEnvironment: Sendable {
    /// Larger files are none of AWS's settings or tokens.
    public static let maximumFileSize = 1 << 20

    private let variables: [String: String]
    private let readFile: @Sendable (String) throws -> [UInt8]?

    /// An environment.
    ///
    /// - Parameters:
    ///   - variables: for example `ProcessInfo.processInfo.environment`.
    ///   - readFile: gives the bytes of a file, nil if there is none, and throws if it cannot be read.
    public init(
        variables: [String: String],
        readFile: @escaping @Sendable (String) throws -> [UInt8]? = AWSEnvironment.read(path:)
    ) {
        self.variables = variables
        self.readFile = readFile
    }

    /// A variable's value without white space around it; nil if it is empty or not set.
    subscript(_ name: String) -> String? {
        guard let value = variables[name] else { return nil }
        let trimmed = AWSEnvironment.trimmed(value[...])
        return trimmed.isEmpty ? nil : String(trimmed)
    }

    /// A file's text; nil if there is none. `~/` is the home directory.
    func text(of path: String) throws(AWSConfigurationError) -> String? {
        var path = path
        if path.hasPrefix("~/") {
            guard let home = self["HOME"] else { throw AWSConfigurationError("\(path): HOME is not set") }
            path = home + path.dropFirst()
        }
        let bytes: [UInt8]?
        do { bytes = try readFile(path) } catch { throw AWSConfigurationError("\(path) cannot be read: \(error)") }
        guard let bytes else { return nil }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw AWSConfigurationError("\(path) is not UTF-8")
        }
        return text
    }

    /// A file that holds one word, such as a token.
    func token(in path: String) throws(AWSConfigurationError) -> String {
        guard let text = try text(of: path) else { throw AWSConfigurationError("there is no file \(path)") }
        let token = String(Self.trimmed(text[...]))
        guard !token.isEmpty else { throw AWSConfigurationError("\(path) is empty") }
        guard token.isVisibleASCII else { throw AWSConfigurationError("\(path) holds more than one token") }
        return token
    }

    /// Reads a file.
    ///
    /// - Returns: nil if there is none.
    /// - Throws: what the system says, or that it is too large, a pipe, a folder or a device other than /dev/null.
    public static func read(path: String) throws -> [UInt8]? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        // Whoever opens a pipe waits for somebody to write into it, and a device may never end.
        guard status.st_mode & S_IFMT == S_IFREG || isNull(status) else {
            throw AWSConfigurationError("it is no regular file")
        }
        // Not `Data(contentsOf:)`, which refuses /dev/null, by which people say that there is no such file.
        let file = try FileHandle(forReadingFrom: URL(filePath: path))
        defer { try? file.close() }
        let data = try file.read(upToCount: maximumFileSize + 1) ?? Data()
        guard data.count <= maximumFileSize else {
            throw AWSConfigurationError("it has more than \(maximumFileSize) bytes")
        }
        return Array(data)
    }

    private static func isNull(_ status: stat) -> Bool {
        var null = stat()
        return stat("/dev/null", &null) == 0 && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == null.st_rdev
    }

    static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}

/// A setting that cannot be used. Holds no secret.
public struct AWSConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Which setting, what is wrong with it, and what would be right.
    public var message: String

    /// An error.
    public init(_ message: String) { self.message = message }

    /// For logs.
    public var description: String { message }
}

extension String {
    /// Whether it can be sent as one word in a header.
    var isVisibleASCII: Bool { utf8.allSatisfy { (0x21...0x7E).contains($0) } }
}
