import Foundation
import Hansard
import Testing

@testable import HansardServer

/// What is particular to transcripts in a folder: names, whole files, and a folder that cannot be used.
@Suite struct FolderTranscriptStoreTests {
    let folder: TestFolder
    let root: URL
    let store: FolderTranscriptStore

    init() throws {
        folder = try TestFolder()
        root = folder.url.appending(path: "transcripts")
        store = FolderTranscriptStore(folder: root)
    }

    @Test func aFileIsNamedByTenantDayAndSession() async throws {
        let session = Sample.session(1, startedAt: Date(timeIntervalSince1970: 1_709_251_199.999))
        let location = try await store.put(Sample.transcript(session))
        #expect(location == "\(Sample.tenant)/2024/02/29/\(session).json")
        #expect(folder.files == ["transcripts/" + location], "nothing else is left beside it")
        store.stop()
    }

    @Test func theDocumentIsJSONForOthers() async throws {
        let session = Sample.session(1)
        let location = try await store.put(Sample.transcript(session))
        let object = try JSONTextTests.parsed(Array(Data(contentsOf: root.appending(path: location))))
        #expect(object["schema"] as? Int == 1)
        #expect(object["session_id"] as? String == session.description)
        #expect(object["tenant_id"] as? String == Sample.tenant.description)
        #expect(object["complete"] as? Bool == true)
        #expect(object["state"] as? String == "completed")
        #expect(object["audio_ms"] as? Int == 2_000)
        #expect(object["started_at"] as? String == "2026-05-28T20:26:41.000Z")
        let results = try #require(object["results"] as? [[String: Any]])
        #expect(results[1]["start"] as? Double == 1.0)
        #expect(results[1]["speech_final"] as? Bool == true)
        let words = try #require(results[1]["words"] as? [[String: Any]])
        #expect(words.first?["word"] as? String == "go")
        #expect(words.first?["end"] as? Double == 1.09)
        store.stop()
    }

    @Test func timesKeepTheirMilliseconds() throws {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<2_000 {
            let milliseconds = Int64.random(in: 1_600_000_000_000...2_000_000_000_000, using: &random)
            let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
            let text = Timestamp.format(date)
            let fraction = String(text.suffix(4).dropLast())
            #expect(Int64(fraction) == milliseconds % 1_000, "\(text)")
            let back = try Timestamp.parse(text).timeIntervalSince1970 * 1_000
            #expect(Int64(back.rounded()) == milliseconds)
        }
    }

    @Test func whatIsNoTranscriptIsNotListed() async throws {
        let session = Sample.session(1)
        let location = try await store.put(Sample.transcript(session))
        let day = root.appending(path: location).deletingLastPathComponent()
        for name in [".\(Sample.session(2)).json.part", "notes.txt", "x.json"] {
            try Data("x".utf8).write(to: day.appending(path: name))
        }
        try Data("x".utf8).write(to: root.appending(path: "\(Sample.tenant)/README"))
        #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 100).map(\.session) == [session])
        store.stop()
    }

    @Test func aDamagedFileIsAnErrorOfOurs() async throws {
        let location = try await store.put(Sample.transcript(Sample.session(1)))
        try Data("{".utf8).write(to: root.appending(path: location))
        #expect(await code { _ = try await store.get(Sample.session(1), tenant: Sample.tenant) } == .internal)
        store.stop()
    }

    /// A file where the folder should be: the same for every user, root too.
    @Test func aFolderThatCannotBeUsedIsUnavailable() async throws {
        try Data().write(to: root)
        let store = store
        #expect(await code { _ = try await store.put(Sample.transcript(Sample.session(1))) } == .unavailable)
        #expect(await code { _ = try await store.get(Sample.session(1), tenant: Sample.tenant) } == .unavailable)
        #expect(await code { _ = try await store.list(tenant: Sample.tenant, before: nil, limit: 1) } == .unavailable)
        #expect(await code { try await store.checkHealth() } == .unavailable)
        try FileManager.default.removeItem(at: root)
        try await store.checkHealth()
        _ = try await store.put(Sample.transcript(Sample.session(1)))
        #expect(folder.files.count == 1)
        store.stop()
    }

    @Test(.enabled(if: SmallDisk.canBeMade)) func aFullDiskIsUnavailableAndLeavesNothing() async throws {
        let disk = try SmallDisk()
        defer { disk.remove() }
        let store = FolderTranscriptStore(folder: disk.url.appending(path: "t"))
        let finals = (0..<500).map { Sample.final($0) }
        let large = Sample.transcript(Sample.session(1), finals: finals)
        #expect(await code { _ = try await store.put(large) } == .unavailable)
        #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 100).isEmpty)
        let files = FileManager.default.enumerator(atPath: disk.url.path)?.compactMap { $0 as? String } ?? []
        #expect(files.allSatisfy { !$0.contains("json") }, "no part of a file stays")
        _ = try await store.put(Sample.transcript(Sample.session(2)))
        store.stop()
    }

    @Test func aStoppedStoreIsUnavailable() async throws {
        store.stop()
        #expect(await code { _ = try await store.put(Sample.transcript(Sample.session(1))) } == .unavailable)
    }
}
