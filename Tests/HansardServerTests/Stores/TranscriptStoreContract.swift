import Foundation
import Hansard
import Testing

@testable import HansardServer

/// What every `TranscriptStore` must do, said in code: each conformer is a case of `conformers`.
@Suite struct TranscriptStoreContract {
    /// A store with what must outlive it.
    struct Conformer: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let make: @Sendable () throws -> (any TranscriptStore, TestFolder)
    }

    static let conformers =
        [
            Conformer(testDescription: "folder") {
                let folder = try TestFolder()
                return (FolderTranscriptStore(folder: folder.url.appending(path: "transcripts")), folder)
            },
            Conformer(testDescription: "memory") { (MemoryTranscriptStore(), try TestFolder()) },
            Conformer(testDescription: "S3 in memory") { (try s3(pageLimit: 1_000), try TestFolder()) },
            Conformer(testDescription: "S3 in memory, small pages") { (try s3(pageLimit: 3), try TestFolder()) },
        ] + S3TestEndpoint.conformers

    private static func s3(pageLimit: Int) throws -> S3TranscriptStore {
        let location = try #require(S3MemoryBucket.location)
        return S3TranscriptStore(s3: S3MemoryBucket(pageLimit: pageLimit).s3(), location: location)
    }

    private func with(_ conformer: Conformer, _ body: (any TranscriptStore) async throws -> Void) async throws {
        let (store, folder) = try conformer.make()
        try await body(store)
        (store as? FolderTranscriptStore)?.stop()
        withExtendedLifetime(folder) {}
    }

    @Test(arguments: conformers) func whatIsPutIsGot(_ conformer: Conformer) async throws {
        var transcript = Sample.transcript(
            Sample.session(1), finals: [Sample.final(0, "é \"quoted\"\n语 😀"), Sample.final(1)], state: .interrupted)
        transcript.tags = ["a/b", "", "\u{1}"]
        transcript.results[0].confidence = nil
        transcript.results[0].words[0].confidence = nil
        try await with(conformer) { store in
            let location = try await store.put(transcript)
            #expect(!location.isEmpty)
            #expect(try await store.get(Sample.session(1), tenant: Sample.tenant) == transcript)
        }
    }

    @Test(arguments: conformers) func whatIsNotThereIsNil(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            #expect(try await store.get(Sample.session(1), tenant: Sample.tenant) == nil)
            #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 100).isEmpty)
            _ = try await store.put(Sample.transcript(Sample.session(1)))
            #expect(try await store.get(Sample.session(2), tenant: Sample.tenant) == nil)
        }
    }

    @Test(arguments: conformers) func puttingAgainChangesOnlyWhatIsDifferent(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            let transcript = Sample.transcript(Sample.session(1))
            let location = try await store.put(transcript)
            #expect(try await store.put(transcript) == location)
            #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 100).count == 1)
            let later = Sample.transcript(Sample.session(1), finals: [Sample.final(0)])
            #expect(try await store.put(later) == location)
            #expect(try await store.get(Sample.session(1), tenant: Sample.tenant) == later)
        }
    }

    @Test(arguments: conformers) func tenantsAreApart(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            _ = try await store.put(Sample.transcript(Sample.session(1)))
            _ = try await store.put(Sample.transcript(Sample.session(2), tenant: Sample.otherTenant))
            #expect(try await store.get(Sample.session(1), tenant: Sample.otherTenant) == nil)
            #expect(try await store.get(Sample.session(2), tenant: Sample.tenant) == nil)
            #expect(
                try await store.list(tenant: Sample.tenant, before: nil, limit: 100).map(\.session) == [
                    Sample.session(1)
                ])
            #expect(
                try await store.list(tenant: Sample.otherTenant, before: nil, limit: 100).map(\.session)
                    == [Sample.session(2)])
        }
    }

    /// Sessions of several years, months and days, some in the same millisecond, in pages of any size.
    @Test(arguments: conformers, [1, 2, 7, 100]) func pagesGoBackInTime(_ conformer: Conformer, _ limit: Int)
        async throws
    {
        try await with(conformer) { store in
            let day = 86_400.0
            let starts = [0, 0.001, 0.001, 1, day - 0.001, day, day + 1, 31 * day, 62 * day, 365 * day, 400 * day]
            // The last moment of a year and the first of the next.
            let newYear = Date(timeIntervalSince1970: 1_798_761_600)
            let dates = starts.map { moment(0) + $0 } + [newYear - 0.001, newYear]
            let sessions = dates.enumerated().map { Sample.session($0.offset, startedAt: $0.element) }
            for session in sessions.shuffled() { _ = try await store.put(Sample.transcript(session)) }
            let newestFirst = sessions.sorted { $0.description > $1.description }
            for (session, date) in zip(newestFirst, dates.sorted(by: >)) {
                #expect(abs(session.startedAt.timeIntervalSince(date)) < 0.002, "the id's order is that of time")
            }
            var listed: [SessionID] = []
            while true {
                let page = try await store.list(tenant: Sample.tenant, before: listed.last, limit: limit)
                #expect(page.count <= limit)
                #expect(page.allSatisfy { $0.startedAt == $0.session.startedAt && $0.size > 0 })
                listed += page.map(\.session)
                if page.count < limit { break }
                try #require(listed.count <= sessions.count)
            }
            #expect(listed == newestFirst)
        }
    }

    @Test(arguments: conformers) func aPageMayBeginAtAnyMoment(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            for number in [1, 3, 5] { _ = try await store.put(Sample.transcript(Sample.session(number))) }
            let page = try await store.list(tenant: Sample.tenant, before: Sample.session(4), limit: 100)
            #expect(page.map(\.session) == [3, 1].map { Sample.session($0) })
            #expect(try await store.list(tenant: Sample.tenant, before: Sample.session(0), limit: 100).isEmpty)
        }
    }

    @Test(arguments: conformers) func manyWritersAtOnce(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            try await withThrowingTaskGroup { group in
                for number in 0..<60 {
                    group.addTask { _ = try await store.put(Sample.transcript(Sample.session(number % 20))) }
                }
                try await group.waitForAll()
            }
            #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 100).count == 20)
        }
    }

    @Test(arguments: conformers) func whatIsDeletedIsGone(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            for number in 1...3 { _ = try await store.put(Sample.transcript(Sample.session(number))) }
            try await store.delete(Sample.session(2), tenant: Sample.otherTenant)
            #expect(try await store.get(Sample.session(2), tenant: Sample.tenant) != nil, "not another tenant's")
            for _ in 0..<2 { try await store.delete(Sample.session(2), tenant: Sample.tenant) }
            #expect(try await store.get(Sample.session(2), tenant: Sample.tenant) == nil)
            #expect(
                try await store.list(tenant: Sample.tenant, before: nil, limit: 100).map(\.session)
                    == [3, 1].map { Sample.session($0) })
            _ = try await store.put(Sample.transcript(Sample.session(2)))
            #expect(try await store.get(Sample.session(2), tenant: Sample.tenant) != nil)
        }
    }

    @Test(arguments: conformers) func anAddressIsOfTheSession(_ conformer: Conformer) async throws {
        try await with(conformer) { store in
            let session = Sample.session(1)
            let url = try await store.downloadURL(of: session, tenant: Sample.tenant, validFor: .seconds(60))
            #expect(url?.contains(S3TranscriptStore.objectName(session, tenant: Sample.tenant)) ?? true)
        }
    }

    @Test(arguments: conformers) func aWorkingStoreIsHealthy(_ conformer: Conformer) async throws {
        try await with(conformer) { try await $0.checkHealth() }
    }
}
