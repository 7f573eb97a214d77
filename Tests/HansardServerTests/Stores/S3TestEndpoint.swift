import AWS
import Foundation
import HTTPClient
import Hansard
import Testing

@testable import HansardServer

/// A server that speaks S3, if the environment names one: the contract then holds for it too, through the real client.
///
/// `HANSARD_TEST_S3_ENDPOINT` (`http://127.0.0.1:4566`), `HANSARD_TEST_S3_BUCKET` (exists; objects are left in it, under
/// `contract/`), `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_REGION` (default `us-east-1`).
enum S3TestEndpoint {
    struct Server: Sendable {
        let bucket: String
        let service: AWSService
        let client: HTTPClient

        func s3(limits: S3.Limits = S3.Limits(), addressing: S3Addressing = .automatic) -> S3 {
            S3(bucket: bucket, caller: service, addressing: addressing, limits: limits) { [service] request, validFor in
                try await service.presign(request, expiringAfter: validFor).url
            }
        }

        /// A store below a prefix of its own.
        func store() throws -> S3TranscriptStore {
            let location = try #require(S3Location("s3://\(bucket)/contract/a b+é/\(UUID().uuidString)"))
            return S3TranscriptStore(s3: s3(), location: location)
        }
    }

    static let server: Server? = {
        let environment = ProcessInfo.processInfo.environment
        guard let origin = environment["HANSARD_TEST_S3_ENDPOINT"], let bucket = environment["HANSARD_TEST_S3_BUCKET"],
            let id = environment["AWS_ACCESS_KEY_ID"], let secret = environment["AWS_SECRET_ACCESS_KEY"],
            let client = try? HTTPClient()
        else { return nil }
        let credentials = CredentialsProvider(
            sources: [FixedCredentials(AWSCredentials(accessKeyID: id, secretAccessKey: secret))])
        let service = AWSService(
            signingName: "s3", region: environment["AWS_REGION"] ?? "us-east-1", origin: origin,
            credentials: credentials, transport: client)
        return Server(bucket: bucket, service: service, client: client)
    }()

    static let conformers: [TranscriptStoreContract.Conformer] =
        server.map { server in
            [TranscriptStoreContract.Conformer(testDescription: "S3") { (try server.store(), try TestFolder()) }]
        } ?? []
}

/// What a stand-in of our own cannot prove: that a server takes what is sent.
@Suite(.enabled(if: S3TestEndpoint.server != nil)) struct S3EndpointTests {
    private func server() throws -> S3TestEndpoint.Server { try #require(S3TestEndpoint.server) }

    @Test func partsAreJoinedAndReadBack() async throws {
        let s3 = try server().s3()
        let body = (0..<(8 << 20) + 5).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let key = "contract/\(UUID().uuidString)/large é+%.bin"
        try await s3.putObject(key, body: body, contentType: "application/octet-stream", metadata: ["a": "1"])
        try await s3.putObject(key, body: body, contentType: "application/octet-stream", metadata: ["a": "1"])
        let head = try #require(try await s3.headObject(key))
        #expect(head.size == body.count && head.contentType == "application/octet-stream")
        #expect(head.metadata["a"] == "1" && head.metadata[S3.digestMetadata]?.count == 64)
        #expect(try await s3.getObject(key) == body)
        try await s3.deleteObject(key)
        #expect(try await s3.headObject(key) == nil)
        #expect(try await s3.getObject(key) == nil)
    }

    @Test func anyKeyIsKept() async throws {
        let s3 = try server().s3()
        let root = "contract/\(UUID().uuidString)/"
        let names = ["a b", "a+b", "100%", "é语😀", "a&b=c;d", "*'()!~", "a?b#c", "dir/x", "dir/y", "\"<>&", "a:b@c,d$"]
        for name in names { try await s3.putObject(root + name, body: Array(name.utf8), contentType: "text/plain") }
        for name in names { #expect(try await s3.getObject(root + name) == Array(name.utf8), "\(name)") }
        let page = try await s3.listObjects(prefix: root)
        let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        #expect(page.objects.map { String($0.key.dropFirst(root.count)) } == sorted)
        #expect(page.objects.map(\.size) == sorted.map(\.utf8.count))
        let folders = try await s3.listObjects(prefix: root, delimiter: "/")
        #expect(folders.commonPrefixes == [root + "dir/"] && folders.objects.count == names.count - 2)
        var (paged, continuation): ([String], String?) = ([], nil)
        repeat {
            let page = try await s3.listObjects(
                prefix: root, startAfter: root + sorted[1], continuation: continuation, limit: 2)
            paged += page.objects.map { String($0.key.dropFirst(root.count)) }
            continuation = page.continuation
        } while continuation != nil && paged.count < 100
        #expect(paged == Array(sorted[2...]))
        for name in names { try await s3.deleteObject(root + name) }
        #expect(try await s3.listObjects(prefix: root).objects.isEmpty)
    }

    @Test func anAddressCanBeReadByAnyone() async throws {
        let server = try server()
        let store = try server.store()
        let transcript = Sample.transcript(Sample.session(1))
        _ = try await store.put(transcript)
        let url = try await store.downloadURL(of: transcript.session, tenant: transcript.tenant, validFor: .seconds(60))
        let parts = try #require(url.flatMap { URLComponents(string: $0) })
        let request = TransferRequest(
            method: "GET", origin: server.service.origin, path: parts.percentEncodedPath,
            query: parts.percentEncodedQuery ?? "")
        let response = try await server.client.send(request)
        #expect(response.status == 200)
        #expect(try TranscriptDocument.decode(Data(response.body)) == transcript)
        #expect(response.header("Content-Disposition") == "attachment; filename=\"\(transcript.session).json\"")
    }

    @Test func aBucketThatIsNotThereIsSaid() async throws {
        let server = try server()
        let s3 = S3(bucket: "no-such-bucket-of-ours", caller: server.service) { request, _ in request.url }
        let location = try #require(S3Location("s3://no-such-bucket-of-ours"))
        let store = S3TranscriptStore(s3: s3, location: location)
        for call in 0..<4 {
            do {
                switch call {
                case 0: try await store.checkHealth()
                case 1: _ = try await store.put(Sample.transcript(Sample.session(1)))
                case 2: _ = try await store.get(Sample.session(1), tenant: Sample.tenant)
                default: _ = try await store.list(tenant: Sample.tenant, before: nil, limit: 1)
                }
                Issue.record("call \(call) found a bucket that is not there")
            } catch {
                let error = error as? HansardError
                #expect(error?.code == .unavailable)
                #expect(
                    error?.explanation.contains("'no-such-bucket-of-ours' does not exist") == true,
                    "\(error?.message ?? "")")
            }
        }
    }
}
