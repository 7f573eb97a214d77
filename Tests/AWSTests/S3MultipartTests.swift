import Crypto
import FoundationEssentials
import HTTPClient
import Testing

@testable import AWS

/// Objects in parts, of 10 bytes each here.
@Suite struct S3MultipartTests {
    private let body = Array("0123456789abcdefghijK".utf8)
    private let created = S3ScriptedCaller.Reply.ok(
        [], "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>")
    private let joined = S3ScriptedCaller.Reply.ok(
        [], " \n<?xml version=\"1.0\"?>\n<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
    private let aborted = S3ScriptedCaller.Reply.answers(TransferResponse(status: 204))
    private var digest: String { SHA256.hash(body).hexadecimal }

    private func part(_ number: Int) -> S3ScriptedCaller.Reply { .ok([TransferHeader("etag", "\"e\(number)\"")]) }
    private var parts: [S3ScriptedCaller.Reply] { (1...3).map(part) }

    private func failed(_ code: String) -> S3ScriptedCaller.Reply {
        .ok([], "<Error><Code>\(code)</Code><Message>later</Message></Error>")
    }

    private func head(_ digest: String?, size: Int = 21) -> S3ScriptedCaller.Reply {
        .tagged(
            [TransferHeader("Content-Length", "\(size)")]
                + (digest.map { [TransferHeader("x-amz-meta-sha256", $0)] } ?? []))
    }

    private func put(_ caller: S3ScriptedCaller) async throws {
        var limits = S3.Limits()
        limits.largestSinglePut = 20
        limits.partBytes = 10
        limits.completionPause = .zero
        let s3 = s3(caller, encryption: .s3Managed, limits: limits)
        try await s3.putObject("a/k", body: body, contentType: "application/json", metadata: ["m": "1"])
        #expect(caller.unused == 0)
    }

    @Test func largeObjectsGoInParts() async throws {
        let caller = S3ScriptedCaller([created] + parts + [joined])
        try await put(caller)
        let requests = caller.requests
        #expect(
            requests.map(\.operation) == [
                "CreateMultipartUpload", "UploadPart", "UploadPart", "UploadPart", "CompleteMultipartUpload",
            ])
        #expect(requests.map(\.transfer.method) == ["POST", "PUT", "PUT", "PUT", "POST"])
        #expect(requests.allSatisfy { $0.isRepeatable && $0.transfer.path == "/a/k" })
        #expect(
            requests.map(\.transfer.query) == [
                "uploads=", "partNumber=1&uploadId=u%2F1", "partNumber=2&uploadId=u%2F1", "partNumber=3&uploadId=u%2F1",
                "uploadId=u%2F1",
            ])
        #expect(
            requests[0].transfer.headers == [
                TransferHeader("Content-Type", "application/json"),
                TransferHeader("x-amz-server-side-encryption", "AES256"), TransferHeader("x-amz-meta-m", "1"),
                TransferHeader("x-amz-meta-sha256", digest), TransferHeader("x-amz-checksum-algorithm", "SHA256"),
            ])
        let pieces = ["0123456789", "abcdefghij", "K"]
        let checksums = pieces.map { Data(SHA256.hash(Array($0.utf8))).base64EncodedString() }
        for (index, piece) in pieces.enumerated() {
            #expect(requests[index + 1].transfer.body == Array(piece.utf8))
            #expect(requests[index + 1].transfer.headers == [TransferHeader("x-amz-checksum-sha256", checksums[index])])
        }
        let list = (1...3).map {
            "<Part><PartNumber>\($0)</PartNumber><ETag>&quot;e\($0)&quot;</ETag>"
                + "<ChecksumSHA256>\(checksums[$0 - 1])</ChecksumSHA256></Part>"
        }
        let root = "CompleteMultipartUpload"
        #expect(
            String(decoding: requests[4].transfer.body, as: UTF8.self)
                == "<\(root) xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(list.joined())</\(root)>")
        #expect(requests[4].transfer.timeout == .seconds(60))
    }

    @Test func partsCoverTheBody() {
        #expect(S3.parts(of: 21, partBytes: 10) == [0..<10, 10..<20, 20..<21])
        #expect(S3.parts(of: 20, partBytes: 10) == [0..<10, 10..<20])
        let many = S3.parts(of: 1_000_007, partBytes: 10)
        #expect(many.count <= 10_000 && many.last?.upperBound == 1_000_007, "never more than S3 takes")
        #expect(S3.Limits().partBytes == 8 << 20 && S3.Limits().largestSinglePut == 8 << 20)
    }

    @Test func theLimitItselfIsOneRequest() async throws {
        var limits = S3.Limits()
        limits.largestSinglePut = body.count
        let caller = S3ScriptedCaller([.tagged()])
        try await s3(caller, limits: limits).putObject("k", body: body, contentType: "")
        #expect(caller.operations == ["PutObject"])
    }

    @Test func aPartThatFailsEndsTheUpload() async {
        let caller = S3ScriptedCaller([created, part(1), .error(503, "SlowDown"), aborted])
        let error = await awsError { try await put(caller) }
        #expect(error?.code == "SlowDown")
        #expect(caller.operations.last == "AbortMultipartUpload")
        #expect(caller.requests.last?.transfer.method == "DELETE")
        #expect(caller.requests.last?.transfer.query == "uploadId=u%2F1")
        #expect(caller.unused == 0)
    }

    @Test func anAbortThatFailsHidesNothing() async {
        let caller = S3ScriptedCaller([created, .error(403, "AccessDenied"), .error(500, "InternalError")])
        #expect(await awsError { try await put(caller) }?.code == "AccessDenied")
        #expect(caller.unused == 0)
    }

    @Test func anAnswerWithoutIDOrTagIsAnError() async {
        let nameless = S3ScriptedCaller([.ok([], "<x/>")])
        #expect(await awsError { try await put(nameless) }?.code == "UnreadableResponse")
        let tagless = S3ScriptedCaller([created, .ok(), aborted])
        #expect(await awsError { try await put(tagless) }?.code == "UnreadableResponse")
        #expect(tagless.unused == 0)
    }

    @Test func aFailureAfterTwoHundredIsTriedAgain() async throws {
        let caller = S3ScriptedCaller([created] + parts + [failed("InternalError"), failed("SlowDown"), joined])
        try await put(caller)
        #expect(caller.operations.count { $0 == "CompleteMultipartUpload" } == 3)
    }

    @Test func itIsTriedSoOftenAndNoMore() async {
        let failures = [S3ScriptedCaller.Reply](
            repeating: failed("InternalError"), count: S3.Limits().completionAttempts)
        let caller = S3ScriptedCaller([created] + parts + failures + [aborted])
        let error = await awsError { try await put(caller) }
        #expect(error?.code == "InternalError" && error?.status == 200 && error?.message == "later")
        #expect(caller.operations.last == "AbortMultipartUpload" && caller.unused == 0)
    }

    @Test func aRefusalAfterTwoHundredIsFinal() async {
        let caller = S3ScriptedCaller([created] + parts + [failed("InvalidPart"), aborted])
        #expect(await awsError { try await put(caller) }?.code == "InvalidPart")
        #expect(caller.unused == 0)
    }

    /// Joined, and the answer lost: the repetition finds no upload, but the object.
    @Test(arguments: [S3ScriptedCaller.Reply.error(404, "NoSuchUpload"), .lost, .ok([], ""), .ok([], "<html/>")])
    func whatIsJoinedAlreadyIsDone(_ answer: S3ScriptedCaller.Reply) async throws {
        let caller = S3ScriptedCaller([created] + parts + [answer, head(digest)])
        try await put(caller)
        #expect(caller.operations.last == "HeadObject")
    }

    /// Another object of that key, older or someone else's, proves nothing.
    @Test func whatIsNotJoinedIsAnError() async {
        for other in [head(nil), head("0"), head(digest, size: 20), .error(404, ""), .error(403, "")] {
            let caller = S3ScriptedCaller([created] + parts + [.error(404, "NoSuchUpload"), other, aborted])
            #expect(await awsError { try await put(caller) }?.code == "NoSuchUpload")
            #expect(caller.operations.last == "AbortMultipartUpload" && caller.unused == 0)
        }
    }

    @Test func whoGivesUpLeavesNoParts() async throws {
        let caller = S3ScriptedCaller([created, part(1), .hangs, aborted])
        let task = Task { try await put(caller) }
        while caller.requests.count < 3 { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(caller.operations.last == "AbortMultipartUpload" && caller.unused == 0)
    }
}
