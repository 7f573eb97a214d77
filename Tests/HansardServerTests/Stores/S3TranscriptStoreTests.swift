import AWS
import Foundation
import HTTPClient
import Hansard
import Testing

@testable import HansardServer

/// What is particular to transcripts in a bucket.
@Suite struct S3TranscriptStoreTests {
    private let bucket = S3MemoryBucket()
    private let location: S3Location

    init() throws { location = try #require(S3MemoryBucket.location) }

    private func store(limits: S3.Limits = S3.Limits(), now: Date = moment(100)) -> S3TranscriptStore {
        S3TranscriptStore(s3: bucket.s3(limits: limits), location: location, now: { now })
    }

    private func smallParts() -> S3.Limits {
        var limits = S3.Limits()
        limits.largestSinglePut = 300
        limits.partBytes = 100
        limits.completionPause = .zero
        return limits
    }

    @Test func anObjectIsNamedByPrefixTenantDayAndSession() async throws {
        let session = Sample.session(1, startedAt: Date(timeIntervalSince1970: 1_709_251_199.999))
        let transcript = Sample.transcript(session)
        let key = "some where/\(Sample.tenant)/2024/02/29/\(session).json"
        #expect(try await store().put(transcript) == "s3://box/" + key)
        #expect(bucket.objects.keys.sorted() == [key])
        #expect(bucket.objects[key] == Array(try TranscriptDocument.encode(transcript)))
        let request = try #require(bucket.requests.first?.transfer)
        #expect(request.path == "/box/some%20where/\(Sample.tenant)/2024/02/29/\(session).json")
        #expect(request.header("Content-Type") == "application/json")
        #expect(request.header("x-amz-checksum-sha256") != nil)
        #expect(bucket.operations == ["PutObject"], "one call")
    }

    @Test func aBucketWithoutPrefixWorksToo() async throws {
        let store = S3TranscriptStore(s3: bucket.s3(), location: try #require(S3Location("s3://box")))
        let session = Sample.session(1)
        let location = try await store.put(Sample.transcript(session))
        #expect(location.hasPrefix("s3://box/\(Sample.tenant)/"))
        #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 1).map(\.session) == [session])
    }

    @Test func aLongTranscriptGoesInParts() async throws {
        let transcript = Sample.transcript(Sample.session(1))
        let store = store(limits: smallParts())
        _ = try await store.put(transcript)
        #expect(bucket.operations.first == "CreateMultipartUpload")
        #expect(bucket.operations.last == "CompleteMultipartUpload")
        #expect(bucket.operations.count { $0 == "UploadPart" } > 3)
        #expect(try await store.get(Sample.session(1), tenant: Sample.tenant) == transcript)
    }

    /// Whichever call's answer is lost, or which is refused: another put brings the same object, and no parts are left.
    @Test(arguments: [0, 300]) func aPutThatIsInterruptedIsRepeated(_ largest: Int) async throws {
        let transcript = Sample.transcript(Sample.session(1))
        var limits = smallParts()
        if largest == 0 { limits.largestSinglePut = 1 << 20 }
        let store = store(limits: limits)
        let location = try await store.put(transcript)
        let (calls, stored) = (bucket.requests.count, bucket.objects)
        for isLost in [true, false] {
            for failing in 0..<calls {
                bucket.forgetRequests()
                bucket.set { request, number in
                    guard number == failing else { return .works }
                    let slow = AWSError(
                        operation: request.operation, code: "SlowDown", message: "", status: 503, isThrottling: true)
                    return isLost ? .answerLost : .fails(slow)
                }
                let first = await code { _ = try await store.put(transcript) }
                let isJoined = isLost && failing == calls - 1 && calls > 1
                #expect(first == (isJoined ? nil : .unavailable), "call \(failing)")
                bucket.set { _, _ in .works }
                #expect(try await store.put(transcript) == location)
                #expect(bucket.objects == stored)
                // The id of an upload whose answer was lost is not known to anyone but S3.
                #expect(bucket.openUploads <= 1)
            }
        }
    }

    @Test func aPageIsOneList() async throws {
        let store = store()
        for number in 0..<5 { _ = try await store.put(Sample.transcript(Sample.session(number))) }
        bucket.forgetRequests()
        let page = try await store.list(tenant: Sample.tenant, before: nil, limit: 2)
        #expect(page.map(\.session) == [4, 3].map { Sample.session($0) })
        #expect(
            page.map(\.size)
                == page.map { entry in bucket.objects.first { $0.key.contains("\(entry.session)") }?.value.count })
        #expect(bucket.operations == ["ListObjectsV2"])
        let query = bucket.requests.first?.transfer.query
        #expect(query == "encoding-type=url&list-type=2&max-keys=1000&prefix=some%20where%2F\(Sample.tenant)%2F")
    }

    @Test func otherObjectsAreNotTranscripts() async throws {
        let store = store()
        let location = try await store.put(Sample.transcript(Sample.session(1)))
        let day = location.dropFirst("s3://box/".count).split(separator: "/").dropLast().joined(separator: "/")
        for name in ["notes.txt", "x.json", "\(Sample.session(2)).json.part", "a b+c\u{1}"] {
            bucket.place("\(day)/\(name)", "x")
        }
        bucket.place("some where/\(Sample.tenant)x/2026/01/01/\(Sample.session(3)).json", "x")
        let page = try await store.list(tenant: Sample.tenant, before: nil, limit: 100)
        #expect(page.map(\.session) == [Sample.session(1)])
    }

    /// A server that does not heed the prefix must not make one tenant's transcripts another's, though their names be
    /// alike.
    @Test func whatWasNotAskedForIsNotListed() async throws {
        let store = store()
        let (own, other) = (Sample.session(1), Sample.session(2))
        let (place, stranger) = (S3TranscriptStore.objectName(own, tenant: Sample.tenant), TenantID(UUID()))
        let keys = [
            "some where/" + place, "some where/" + S3TranscriptStore.objectName(other, tenant: stranger),
            "else where/" + S3TranscriptStore.objectName(other, tenant: Sample.tenant),
            S3TranscriptStore.objectName(other, tenant: Sample.tenant),
        ]
        let objects = keys.map { "<Contents><Key>\($0)</Key><Size>1</Size></Contents>" }.joined()
        let list = "<ListBucketResult><IsTruncated>false</IsTruncated>\(objects)</ListBucketResult>"
        bucket.set { _, _ in .answers(TransferResponse(status: 200, body: Array(list.utf8))) }
        let page = try await store.list(tenant: Sample.tenant, before: nil, limit: 100)
        #expect(page.map(\.session) == [own])
    }

    @Test(arguments: [
        TransferResponse(status: 200, body: Array("<html>log in</html>".utf8)), TransferResponse(status: 200),
        TransferResponse(status: 204), TransferResponse(status: 202),
    ]) func aTranscriptIsStoredOnlyIfS3SaysSo(_ answer: TransferResponse) async throws {
        let store = store()
        bucket.set { _, _ in .answers(answer) }
        let explanation = await explanation { _ = try await store.put(Sample.transcript(Sample.session(1))) }
        #expect(explanation?.contains("is not AWS") == true && explanation?.contains("HANSARD_TRANSCRIPTS") == true)
    }

    @Test func aDamagedObjectIsAnErrorOfOurs() async throws {
        let store = store()
        let location = try await store.put(Sample.transcript(Sample.session(1)))
        bucket.place(String(location.dropFirst("s3://box/".count)), "{")
        #expect(await code { _ = try await store.get(Sample.session(1), tenant: Sample.tenant) } == .internal)
    }

    @Test func aDownloadIsSigned() async throws {
        let store = store()
        let session = Sample.session(1)
        let url = try await store.downloadURL(of: session, tenant: Sample.tenant, validFor: .seconds(60))
        let name = S3TranscriptStore.objectName(session, tenant: Sample.tenant)
        #expect(
            url == "signed http://127.0.0.1:9/box/some%20where/\(name)"
                + "?response-content-disposition=attachment%3B%20filename%3D%22\(session).json%22")
        for wrong in [Duration.zero, .seconds(-1), .seconds(604_801)] {
            let refusal = await code {
                _ = try await store.downloadURL(of: session, tenant: Sample.tenant, validFor: wrong)
            }
            #expect(refusal == .invalid)
        }
    }

    @Test func healthIsToListWriteAndRead() async throws {
        let store = store()
        try await store.checkHealth()
        try await store.checkHealth()
        #expect(bucket.operations.prefix(3) == ["ListObjectsV2", "PutObject", "GetObject"])
        #expect(bucket.objects.keys.sorted() == ["some where/health-check"])
        for operation in ["ListObjectsV2", "PutObject", "GetObject"] {
            bucket.set { request, _ in
                guard request.operation == operation else { return .works }
                return .fails(AWSError(operation: operation, code: "AccessDenied", message: "no", status: 403))
            }
            let explanation = await explanation { try await store.checkHealth() }
            let action = operation == "ListObjectsV2" ? "s3:ListBucket" : "s3:\(operation)"
            #expect(
                explanation?.contains("the bucket 'box'") == true && explanation?.contains(action) == true,
                "\(explanation ?? "")")
        }
    }

    /// What an operator reads of it when `body` fails.
    private func explanation(_ body: () async throws -> Void) async -> String? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? HansardError)?.explanation
        }
    }
}

/// What AWS's failures mean: nearly always that data waits, with words that help.
@Suite struct S3HansardErrorTests {
    private func error(
        _ status: Int?, _ code: String, _ message: String = "as AWS said", body: String = "",
        isThrottling: Bool = false,
        operation: String = "PutObject"
    ) -> HansardError {
        HansardError(
            AWSError(
                operation: operation, code: code, message: message, status: status, body: Array(body.utf8),
                isOutcomeUnknown: status == nil, isThrottling: isThrottling),
            of: AWSSubject(name: "the bucket 'box'", setting: "HANSARD_TRANSCRIPTS"))
    }

    @Test(
        arguments: [
            (nil, "", "was not reached"), (500, "InternalError", "cannot do this now"), (503, "", "cannot do this now"),
            (404, "NoSuchBucket", "HANSARD_TRANSCRIPTS"), (400, "ResourceNotFoundException", "hansard aws init"),
            (403, "RequestTimeTooSkewed", "clock"), (400, "ExpiredToken", "expired: renew"),
            (400, "ExpiredTokenException", "expired: renew"), (403, "InvalidAccessKeyId", "credentials are wrong"),
            (403, "SignatureDoesNotMatch", "credentials are wrong"),
            (400, "UnrecognizedClientException", "credentials are wrong"), (403, "AccessDenied", "s3:PutObject"),
            (400, "AccessDeniedException", "must allow"), (403, "", "must allow"),
            (301, "PermanentRedirect", "AWS_REGION"), (302, "Redirected", "is not AWS"),
            (200, "UnreadableResponse", "is not AWS"), (nil, "UnsuitableTable", "cannot be used"),
            (nil, "UnfinishedTable", "is not ready"), (nil, "NoCredentials", "no AWS credentials"),
            (400, "AuthorizationHeaderMalformed", "AWS_REGION"), (400, "KMS.DisabledException", "HANSARD_S3_KMS_KEY"),
            (400, "BadDigest", "cannot do this now"), (405, "MethodNotAllowed", "endpoint"), (404, "", "endpoint"),
        ] as [(Int?, String, String)]) func dataWaitsAndTheMessageHelps(_ status: Int?, _ code: String, _ words: String)
    {
        let mapped = error(status, code)
        #expect(mapped.code == .unavailable)
        #expect(mapped.explanation.contains(words), "\(mapped.explanation)")
        #expect(
            mapped.explanation.contains("as AWS said") && mapped.explanation.contains(code.isEmpty ? "PutObject" : code)
        )
        #expect(mapped.retryAfter == .seconds(1))
    }

    @Test func whatTheAnswerSaysIsTold() {
        let elsewhere = error(400, "AuthorizationHeaderMalformed", body: "<Error><Region>eu-west-3</Region></Error>")
        #expect(elsewhere.explanation.contains("AWS_REGION=eu-west-3"))
        let late = error(
            403, "RequestTimeTooSkewed", body: "<Error><ServerTime>2026-01-01T00:00:00Z</ServerTime></Error>")
        #expect(late.explanation.contains("2026-01-01T00:00:00Z"))
        let old = error(400, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than x")
        #expect(old.explanation.contains("clock"))
        #expect(error(503, "SlowDown", isThrottling: true).explanation.contains("fewer calls"))
        #expect(error(403, "", operation: "AbortMultipartUpload").explanation.contains("s3:AbortMultipartUpload"))
        #expect(error(400, "AccessDeniedException", operation: "Query").explanation.contains("dynamodb:Query"))
    }

    @Test func aWrongRequestIsADefectOfOurs() {
        #expect(error(400, "ValidationException").code == .internal)
        #expect(error(400, "InvalidArgument").code == .internal)
        #expect(error(413, "EntityTooLarge").code == .internal)
    }
}
