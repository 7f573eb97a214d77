import Foundation
import Testing

/// Python with amazon-transcribe and botocore, as `make venv` installs them.
enum TranscribeReference {
    private static let python = ProjectFolder.url(".venvs/tests/bin/python")
    private static let script = ProjectFolder.url("Tests/StandIns/transcribe_reference.py")

    /// Without the package the comparison is left out, but not where the CI runs: there it fails.
    static let isNeeded: Bool = {
        let libraries = ProjectFolder.url(".venvs/tests/lib").path
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: libraries)) ?? []
        let isThere = versions.contains {
            FileManager.default.fileExists(atPath: "\(libraries)/\($0)/site-packages/amazon_transcribe")
        }
        return isThere || ProcessInfo.processInfo.environment["CI"] != nil
    }()

    /// The lines that the script writes, read as JSON.
    ///
    /// - Parameter input: lines for the script; they go through a file, so that neither side waits for the other.
    static func lines<Line: Decodable>(
        of type: Line.Type, _ arguments: [String], input: [String] = []
    ) throws -> [Line] {
        let file = FileManager.default.temporaryDirectory.appending(path: "transcribe-\(UUID().uuidString)")
        try Data(input.map { $0 + "\n" }.joined().utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = python
        process.arguments = [script.path] + arguments
        process.standardInput = try FileHandle(forReadingFrom: file)
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        let decoder = JSONDecoder()
        return try data.split(separator: UInt8(ascii: "\n")).map { try decoder.decode(type, from: $0) }
    }
}

extension [UInt8] {
    /// The bytes of pairs of hexadecimal digits; empty if they are none.
    init(hexadecimal text: String) {
        let digits = text.utf8.map { byte in Character(Unicode.Scalar(byte)).hexDigitValue ?? 0 }
        self = stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
