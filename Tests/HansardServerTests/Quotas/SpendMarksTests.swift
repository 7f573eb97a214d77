import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// What a node may have spent, as its disk says.
@Suite struct SpendMarksTests {
    private let folder: TestFolder
    private let marks: SpendMarks
    private var file: URL { folder.url.appending(path: "minutes") }

    init() throws {
        folder = try TestFolder()
        marks = SpendMarks(stateDirectory: folder.url)
    }

    private static func mark(
        _ node: String, _ owner: QuotaOwner = .tenant(Sample.tenant), _ period: String = "2026-11"
    ) throws -> SpendMarks.Mark {
        SpendMarks.Mark(
            holder: NodeEpoch(node: node, epoch: UUID()), owner: owner, period: try #require(QuotaPeriod(period)))
    }

    @Test func whatWasWrittenIsRead() throws {
        let written: [SpendMarks.Mark: Int64] = [
            try Self.mark("one"): 0, try Self.mark("a name with spaces"): 1, try Self.mark("rack#7 # é"): 2,
            try Self.mark("one", .key(Sample.key)): .max,
            try Self.mark("one", .tenant(Sample.otherTenant), "0001-01"): 3,
        ]
        try marks.write(written)
        #expect(marks.read() == written)
        #expect(SpendMarks(stateDirectory: folder.url).read() == written)
    }

    @Test func theLastCounts() throws {
        let mark = try Self.mark("one")
        for spent: Int64 in [5_000, 10_000, 7_500] { try marks.write([mark: spent]) }
        #expect(marks.read() == [mark: 7_500])
        try marks.write([:])
        #expect(marks.read() == [:], "nothing was spent, which is known")
        #expect(folder.files == ["minutes"])
    }

    @Test func withoutAFileNothingIsKnown() throws {
        #expect(marks.read() == nil)
        try marks.write([:])
        try FileManager.default.removeItem(at: file)
        #expect(marks.read() == nil)
    }

    @Test func aFileThatIsDamagedSaysNothing() throws {
        let mark = try Self.mark("one")
        try marks.write([mark: 5_000])
        let line = try String(contentsOf: file, encoding: .utf8).trimmingCharacters(in: .newlines)
        let parts = line.split(separator: "\t").map(String.init)
        #expect(parts.count == 4)
        var damaged = ["x", "\u{0}", line + "\tx", parts.dropLast().joined(separator: "\t"), line + "\n\t"]
        for index in parts.indices {
            var wrong = parts
            wrong[index] = "x"
            damaged.append(wrong.joined(separator: "\t"))
            // One line that cannot be read makes all of them doubtful.
            damaged.append(line + "\n" + wrong.joined(separator: "\t"))
        }
        for text in damaged {
            try Data(text.utf8).write(to: file)
            #expect(marks.read() == nil, "\(text.debugDescription)")
        }
        try Data([0xFF, 0xFE, 0x09]).write(to: file)
        #expect(marks.read() == nil)
    }

    /// A rename that is not on the disk is undone by a power failure, and with it the marks that audio was heard by.
    @Test func aMarkCountsOnceItsNameIsOnTheDisk() throws {
        let (mark, file) = (try Self.mark("one"), file)
        let synced = Locked<[URL: String]>([:])
        let watched = SpendMarks(stateDirectory: folder.url) { folder in
            let text = try String(contentsOf: file, encoding: .utf8)
            synced.withLock { $0[folder] = text }
        }
        try watched.write([mark: 5_000])
        #expect(synced.withLock(\.count) == 1)
        #expect(synced.withLock(\.keys.first?.path) == folder.url.path)
        let written = try String(contentsOf: file, encoding: .utf8)
        #expect(synced.withLock(\.values.first) == written, "after the rename")
        let failing = SpendMarks(stateDirectory: folder.url) { _ in throw CocoaError(.fileWriteUnknown) }
        #expect(throws: CocoaError.self) { try failing.write([mark: 9_000]) }
    }

    @Test func whatCannotBeWrittenLeavesWhatWasThere() throws {
        let mark = try Self.mark("one")
        try marks.write([mark: 5_000])
        let beside = file.appendingPathExtension("new")
        try FileManager.default.createDirectory(at: beside, withIntermediateDirectories: false)
        #expect(throws: (any Error).self) { try marks.write([mark: 9_000]) }
        #expect(marks.read() == [mark: 5_000])
        try FileManager.default.removeItem(at: beside)
        try marks.write([mark: 9_000])
        #expect(marks.read() == [mark: 9_000])
    }
}
