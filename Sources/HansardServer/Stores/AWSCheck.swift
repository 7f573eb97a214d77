import FoundationEssentials
import HTTPClient
import Hansard

/// One of the kinds of calls that a node makes on AWS, tried for a tenant that does not exist. They are tried in order:
/// each needs the ones before.
struct AWSCheck {
    /// For people.
    var name: String
    /// Does it, and makes sure that it has had its effect.
    var run: @Sendable () async throws -> Void

    private static func expect(_ holds: Bool, _ otherwise: String) throws {
        guard holds else { throw HansardError(.internal, otherwise) }
    }

    /// The calls of `DynamoDBConnectionStore`.
    static func connections(_ store: DynamoDBConnectionStore, _ settings: Settings) -> [AWSCheck] {
        let epoch = NodeEpoch(node: "\(settings.node)-check", epoch: UUID())
        let tenant = TenantID(UUID())
        let node = NodeRecord(
            epoch: epoch, heartbeat: UUID(), address: settings.effectiveAdvertisedAddress, region: settings.region,
            version: Application.version, isDraining: true)
        let leases = (0..<2).map { _ in
            Lease(
                tenant: tenant, session: SessionID(UUID()), connection: ConnectionID(UUID()), key: KeyID("key_check"),
                holder: epoch, nonce: UUID(), address: node.address, region: node.region, claimedAt: .now)
        }
        let limits = ClaimLimits(tenant: AdmissionLimit(sessions: 2, version: 1))
        return [
            AWSCheck(name: "register the node") { try await store.heartbeat(node) },
            AWSCheck(name: "list the nodes") {
                try expect(try await store.nodes().contains { $0.epoch == epoch }, "the node is not listed")
            },
            AWSCheck(name: "acquire") {
                for lease in leases {
                    try expect(try await store.claim(lease, limits: limits) == .claimed, "a slot was not given")
                }
            },
            AWSCheck(name: "state a limit") {
                try await store.setLimit(AdmissionLimit(sessions: 1, version: 2), owner: .tenant(tenant))
            },
            AWSCheck(name: "renew") { try expect(try await store.renew(leases[0]), "the lease is not there") },
            AWSCheck(name: "list leases") {
                try expect(try await store.leases(of: tenant).count == 2, "not both leases are listed")
            },
            AWSCheck(name: "list a node's leases") { _ = try await store.leases(heldBy: epoch) },
            AWSCheck(name: "release") {
                // Its transcript waits for S3, as it were.
                var status = SessionStatus.abandoned(leases[0], now: .now)
                status.state = .storing
                try expect(try await store.release(leases[0], status: status) == .released, "the lease was gone")
            },
            AWSCheck(name: "release again") {
                let status = SessionStatus.abandoned(leases[0], now: .now)
                try expect(try await store.release(leases[0], status: status) == .alreadyGone, "the lease came back")
            },
            AWSCheck(name: "read a session's status") {
                try expect(try await store.status(of: leases[0].session) != nil, "the status is not there")
            },
            AWSCheck(name: "say where a late transcript is") {
                let isDone = try await store.finishStoring(leases[0].session, transcriptLocation: "s3://check/check")
                try expect(isDone, "the status was not waiting for it")
            },
            AWSCheck(name: "reap") {
                let status = SessionStatus.abandoned(leases[1], now: .now)
                try expect(try await store.reap(leases[1], status: status), "the lease was gone")
            },
            AWSCheck(name: "audit") {
                try expect(try await store.repairCount(of: .tenant(tenant)) == 0, "the counter was wrong")
            },
            AWSCheck(name: "remove the node") { try await store.remove(epoch) },
            AWSCheck(name: "remove the counter") { try await store.forget(.tenant(tenant)) },
        ]
    }

    /// The calls of `S3TranscriptStore`, and what a client does with a download's address.
    static func transcripts(_ store: S3TranscriptStore, _ http: some HTTPTransport) -> [AWSCheck] {
        let tenant = TenantID(UUID())
        let now = Date.now
        let session = SessionID(startedAt: now, random: Array(UUID().uuidString.utf8.prefix(10)))
        let transcript = Transcript(
            session: session, tenant: tenant, key: KeyID("key_check"), startedAt: now, endedAt: now, state: .completed,
            audioMilliseconds: 0, sampleRate: 16_000, channels: 1, options: SessionOptions(), region: "check",
            results: [])
        return [
            AWSCheck(name: "put a transcript") { _ = try await store.put(transcript) },
            AWSCheck(name: "get a transcript") {
                try expect(try await store.get(session, tenant: tenant) != nil, "the transcript is not there")
            },
            AWSCheck(name: "list transcripts") {
                let listed = try await store.list(tenant: tenant, before: nil, limit: 10)
                try expect(listed.map(\.session) == [session], "the transcript is not listed")
            },
            AWSCheck(name: "presign a download") {
                let url = try await store.downloadURL(of: session, tenant: tenant, validFor: .seconds(60))
                guard let url, let request = TransferRequest(getting: url) else {
                    throw HansardError(.internal, "the store gives no address for downloads")
                }
                let response = try await http.send(request)
                try expect(
                    response.status == 200,
                    "the signed address is answered with HTTP \(response.status): its key lacks "
                        + "s3:GetObject, or this machine's clock is wrong")
                let downloaded = try? TranscriptDocument.decode(Data(response.body))
                try expect(downloaded?.session == session, "the signed address does not give the transcript")
            },
            AWSCheck(name: "put a long transcript, and give one up") {
                try await store.checkLongTranscripts(transcript)
                try expect(try await store.get(session, tenant: tenant) != nil, "the long transcript is not there")
            },
            AWSCheck(name: "delete a transcript") { try await store.delete(session, tenant: tenant) },
        ]
    }
}

extension TransferRequest {
    /// A plain GET of an address; nil if it is none.
    init?(getting url: String) {
        guard let scheme = url.firstRange(of: "://") else { return nil }
        let rest = url[scheme.upperBound...]
        guard let slash = rest.firstIndex(of: "/") else { return nil }
        let target = rest[slash...].split(separator: "?", maxSplits: 1).map(String.init)
        self.init(
            method: "GET", origin: String(url[..<slash]), path: target[0], query: target.count > 1 ? target[1] : "")
    }
}
