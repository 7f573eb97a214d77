import AWS
import FoundationEssentials
import Hansard

/// Transcripts as JSON objects in a bucket, by tenant and day.
///
/// Its methods leave the caller's thread: a long transcript takes a while to be written, read and hashed.
struct S3TranscriptStore: TranscriptStore {
    /// Below the prefix. Written and read by `checkHealth`, always with the same content, and left there.
    static let healthName = "health-check"
    private static let healthBody = Array("Hansard can write here and read it again.\n".utf8)

    private let s3: S3
    private let location: S3Location
    private let subject: AWSSubject
    private let now: @Sendable () -> Date

    /// - Parameters:
    ///   - s3: of the location's bucket.
    ///   - now: only makes lists shorter.
    init(s3: S3, location: S3Location, now: @escaping @Sendable () -> Date = { Date() }) {
        precondition(s3.bucket == location.bucket, "a store has one bucket, not '\(s3.bucket)' and \(location)")
        self.s3 = s3
        self.location = location
        self.now = now
        subject = AWSSubject(name: "the bucket '\(location.bucket)'", setting: "HANSARD_TRANSCRIPTS")
    }

    @concurrent func put(_ transcript: Transcript) async throws -> String {
        let key = key(of: transcript.session, tenant: transcript.tenant)
        let body = [UInt8](try TranscriptDocument.encode(transcript))
        try await HansardError.mapping(subject) {
            try await s3.putObject(key, body: body, contentType: TranscriptFormat.json.contentType)
        }
        return "s3://\(location.bucket)/\(key)"
    }

    @concurrent func get(_ session: SessionID, tenant: TenantID) async throws -> Transcript? {
        let body = try await HansardError.mapping(subject) {
            try await s3.getObject(key(of: session, tenant: tenant))
        }
        return try body.map { try TranscriptDocument.decode(Data($0)) }
    }

    @concurrent func list(tenant: TenantID, before: SessionID?, limit: Int) async throws -> [TranscriptEntry] {
        let root = location.key("\(tenant)/")
        var listing = S3TranscriptListing(before: before, limit: limit, now: now())
        while true {
            switch listing.next() {
            case .done(let entries): return entries
            case .giveUp:
                throw HansardError(
                    .unavailable,
                    "\(subject.name) holds so many other objects under '\(root)' that transcripts are not found among them: "
                        + "move those elsewhere")
            case .list(let startAfter):
                let page = try await HansardError.mapping(subject) {
                    try await self.page(root, startAfter: startAfter.map { root + $0 })
                }
                // A server that lists what was not asked for must not make one tenant's transcripts another's.
                let names = page.objects.filter { $0.key.hasPrefix(root) }
                listing.listed(
                    names.map { (String($0.key.dropFirst(root.count)), $0.size) }, isWhole: page.continuation == nil)
            }
        }
    }

    /// A part of a list that has objects, unless there are no more: S3 may answer with fewer than were asked for, where
    /// many were deleted.
    private func page(_ root: String, startAfter: String?) async throws -> S3Page {
        var page = try await s3.listObjects(prefix: root, startAfter: startAfter)
        for _ in 0..<S3TranscriptListing.maximumLists where page.objects.isEmpty {
            guard let continuation = page.continuation else { break }
            page = try await s3.listObjects(prefix: root, continuation: continuation)
        }
        return page
    }

    @concurrent func delete(_ session: SessionID, tenant: TenantID) async throws {
        try await HansardError.mapping(subject) { try await s3.deleteObject(key(of: session, tenant: tenant)) }
    }

    @concurrent func downloadURL(
        of session: SessionID, tenant: TenantID, validFor: Duration
    ) async throws -> String? {
        guard S3.validTimes.contains(validFor) else {
            throw HansardError(.invalid, "an address can be valid for 1 second to 7 days")
        }
        return try await HansardError.mapping(subject) {
            try await s3.downloadURL(
                of: key(of: session, tenant: tenant), validFor: validFor, fileName: "\(session).json")
        }
    }

    /// Lists, writes and reads, as sessions will: each is a permission of its own, and with a KMS key two more.
    @concurrent func checkHealth() async throws {
        let key = location.key(Self.healthName)
        let body = try await HansardError.mapping(subject) {
            _ = try await s3.listObjects(prefix: key, limit: 1)
            try await s3.putObject(key, body: Self.healthBody, contentType: "text/plain; charset=utf-8")
            return try await s3.getObject(key)
        }
        guard body == Self.healthBody else {
            throw HansardError.storeUnavailable(
                "\(subject.name) does not give back what was put into it: '\(key)'",
                retryAfter: HansardError.awsRetryAfter)
        }
    }

    /// Writes as sessions with long transcripts will, and begins it again and gives it up: a permission of its own.
    @concurrent func checkLongTranscripts(_ transcript: Transcript) async throws {
        let body = [UInt8](try TranscriptDocument.encode(transcript))
        try await HansardError.mapping(subject) {
            try await s3.checkUploadInParts(
                key(of: transcript.session, tenant: transcript.tenant), body: body,
                contentType: TranscriptFormat.json.contentType)
        }
    }

    func location(of session: SessionID, tenant: TenantID) -> String {
        "s3://\(location.bucket)/\(key(of: session, tenant: tenant))"
    }

    private func key(of session: SessionID, tenant: TenantID) -> String {
        location.key(Self.objectName(session, tenant: tenant))
    }
}

extension S3TranscriptStore: AuditHeadStore {
    /// Lists of one chain's heads at most, and of the chains: a hundred thousand each.
    static let headLists = 100

    @concurrent func keep(_ head: AuditHead, at date: Date) async throws {
        let key = location.key(AuditHead.folder(of: head.tenant) + head.name)
        try await HansardError.mapping(subject) {
            try await s3.putObject(
                key, body: AuditHeadDocument.encode(head, at: date), contentType: TranscriptFormat.json.contentType)
        }
    }

    @concurrent func chains() async throws -> Set<TenantID?> {
        let root = location.key(AuditHead.root)
        let folders = try await pages(root, delimiter: "/").flatMap(\.commonPrefixes)
        return AuditHead.chains(
            ofFolders: folders.filter { $0.hasPrefix(root) }.map { String($0.dropFirst(root.count).dropLast()) })
    }

    @concurrent func heads(of tenant: TenantID?) async throws -> [AuditHead] {
        let root = location.key(AuditHead.folder(of: tenant))
        return try await pages(root).flatMap(\.objects).filter { $0.key.hasPrefix(root) }.compactMap {
            AuditHead(tenant: tenant, name: String($0.key.dropFirst(root.count)))
        }
    }

    private func pages(_ root: String, delimiter: String? = nil) async throws -> [S3Page] {
        var pages: [S3Page] = []
        while pages.count < Self.headLists {
            let page = try await HansardError.mapping(subject) {
                try await s3.listObjects(prefix: root, delimiter: delimiter, continuation: pages.last?.continuation)
            }
            pages.append(page)
            if page.continuation == nil { return pages }
        }
        throw HansardError.storeUnavailable(
            "\(subject.name) holds too many objects under '\(root)': move some elsewhere",
            retryAfter: HansardError.awsRetryAfter)
    }
}
