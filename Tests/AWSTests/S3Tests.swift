import Crypto
import HTTPClient
import Testing

@testable import AWS

@Suite struct S3Tests {
    private let hello = Array("hello".utf8)
    /// `printf hello | openssl dgst -sha256 -binary | base64`
    private let digest = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

    @Test func aPutIsWholeAndChecked() async throws {
        let caller = S3ScriptedCaller([.tagged()])
        try await s3(caller).putObject(
            "a/b c.json", body: hello, contentType: "application/json", metadata: ["b": "2", "a": "1"])
        let request = try #require(caller.requests.first)
        #expect(request.operation == "PutObject")
        #expect(request.isRepeatable)
        #expect(
            request.transfer
                == TransferRequest(
                    method: "PUT", origin: "https://box.s3.eu-west-1.amazonaws.com", path: "/a/b%20c.json",
                    headers: [
                        TransferHeader("Content-Type", "application/json"), TransferHeader("x-amz-meta-a", "1"),
                        TransferHeader("x-amz-meta-b", "2"), TransferHeader("x-amz-checksum-sha256", digest),
                    ], body: hello, timeout: request.transfer.timeout, maximumResponseBytes: 16 << 20))
        #expect(caller.requests.count == 1)
    }

    @Test(arguments: [
        (S3Encryption.bucketDefault, [:]),
        (.s3Managed, ["x-amz-server-side-encryption": "AES256"]),
        (
            .kms(key: nil),
            ["x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"]
        ),
        (
            .kms(key: "arn:aws:kms:eu-west-1:1:key/k"),
            [
                "x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true",
                "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:1:key/k",
            ]
        ),
    ]) func encryptionIsAskedFor(_ encryption: S3Encryption, _ expected: [String: String]) async throws {
        let caller = S3ScriptedCaller([.tagged(), .tagged(), .ok()])
        let s3 = s3(caller, encryption: encryption)
        try await s3.putObject("k", body: hello, contentType: "text/plain")
        _ = try await s3.getObject("k")
        try await s3.deleteObject("k")
        let sent = caller.requests.map { request in
            Dictionary(
                uniqueKeysWithValues: request.transfer.headers.filter { $0.name.contains("encryption") }.map {
                    ($0.name, $0.value)
                })
        }
        #expect(sent == [expected, [:], [:]], "only what is put has it: with the rest S3 refuses it")
    }

    /// 5 s, and a second for each 256 KiB; to read, 30 s.
    @Test func largeBodiesHaveMoreTime() async throws {
        let caller = S3ScriptedCaller([.tagged(), .tagged(), .tagged()])
        let s3 = s3(caller)
        try await s3.putObject("k", body: [], contentType: "")
        try await s3.putObject("k", body: [UInt8](repeating: 0, count: 1 << 20), contentType: "")
        _ = try await s3.getObject("k")
        #expect(caller.requests.map(\.transfer.timeout) == [.seconds(5), .seconds(9), .seconds(30)])
        #expect(caller.requests[2].transfer.maximumResponseBytes == 128 << 20)
    }

    @Test func aGetIsComparedWithItsChecksum() async throws {
        let caller = S3ScriptedCaller([
            .tagged([TransferHeader("X-Amz-Checksum-SHA256", digest)], "hello"), .tagged([], "hello"),
            .tagged([TransferHeader("x-amz-checksum-sha256", "AAAA-3")], "hello"),
            .tagged([TransferHeader("x-amz-checksum-sha256", digest)], "hellO"),
        ])
        let s3 = s3(caller)
        for _ in 0..<3 { #expect(try await s3.getObject("a/k") == hello) }
        #expect(await awsError { _ = try await s3.getObject("a/k") }?.code == "ChecksumMismatch")
        let request = caller.requests[0].transfer
        #expect(request.method == "GET" && request.path == "/a/k" && request.query == "")
        #expect(request.headers == [TransferHeader("x-amz-checksum-mode", "ENABLED")])
        #expect(request.body.isEmpty)
    }

    @Test func whatIsNotThereIsNil() async throws {
        let caller = S3ScriptedCaller([
            .error(404, "NoSuchKey"), .error(404, "NoSuchBucket"), .error(404, ""), .error(403, "AccessDenied"),
        ])
        let s3 = s3(caller)
        #expect(try await s3.getObject("k") == nil)
        #expect(await awsError { _ = try await s3.getObject("k") }?.code == "NoSuchBucket")
        #expect(await awsError { _ = try await s3.getObject("k") }?.status == 404, "a 404 of someone else")
        #expect(await awsError { _ = try await s3.getObject("k") }?.code == "AccessDenied")
    }

    @Test func aHeadDescribes() async throws {
        let caller = S3ScriptedCaller([
            .ok([
                TransferHeader("content-length", "5"), TransferHeader("ETag", "\"e\""),
                TransferHeader("Content-Type", "text/plain"), TransferHeader("X-Amz-Meta-Digest", "d"),
            ]), .error(404, ""), .error(403, ""),
        ])
        let s3 = s3(caller)
        #expect(
            try await s3.headObject("k")
                == S3ObjectHead(size: 5, entityTag: "\"e\"", contentType: "text/plain", metadata: ["digest": "d"]))
        #expect(caller.requests[0].transfer.method == "HEAD")
        #expect(try await s3.headObject("k") == nil)
        #expect(await awsError { _ = try await s3.headObject("k") }?.status == 403)
    }

    @Test func aDeleteOfNothingIsDone() async throws {
        let caller = S3ScriptedCaller([
            .answers(TransferResponse(status: 204)), .error(404, "NoSuchKey"), .error(404, "NoSuchBucket"),
        ])
        let s3 = s3(caller)
        try await s3.deleteObject("a/k")
        try await s3.deleteObject("a/k")
        #expect(await awsError { try await s3.deleteObject("a/k") }?.code == "NoSuchBucket")
        #expect(caller.requests[0].transfer.method == "DELETE")
        #expect(caller.requests[0].transfer.path == "/a/k")
        #expect(caller.requests.allSatisfy { $0.isRepeatable })
    }

    @Test func anAddressIsSignedWithoutACall() async throws {
        let caller = S3ScriptedCaller()
        let s3 = s3(caller)
        #expect(
            try await s3.downloadURL(of: "a/k", validFor: .seconds(900))
                == "GET https://box.s3.eu-west-1.amazonaws.com/a/k signed for 900 s")
        #expect(
            try await s3.downloadURL(of: "a/k", validFor: .seconds(1), fileName: "k.json")
                == "GET https://box.s3.eu-west-1.amazonaws.com/a/k"
                + "?response-content-disposition=attachment%3B%20filename%3D%22k.json%22 signed for 1 s")
        #expect(caller.requests.isEmpty)
    }

    @Test func anErrorDocumentSaysMore() {
        func error(_ body: String) -> AWSError {
            AWSError(operation: "", code: "", message: "", status: 403, body: Array(body.utf8))
        }
        let skewed = error(
            "<Error><Code>RequestTimeTooSkewed</Code><ServerTime>2026-01-01T00:00:00Z</ServerTime></Error>")
        #expect(skewed.detail(.serverTime) == "2026-01-01T00:00:00Z")
        #expect(skewed.detail(.region) == nil)
        #expect(error("<Error><Region></Region></Error>").detail(.region) == nil)
        #expect(error("{}").detail(.region) == nil)
    }
}
