import Foundation
import HTTPClient
import Testing

@testable import AWS

/// What comes with a status of success and is not the API's has done nothing: a captive portal, a wrong proxy, a damaged
/// answer. Asked through the service itself, so that what may be repeated is.
@Suite struct AnswerCheckTests {
    private static let page = "<html>please log in</html>"

    private struct Fixture {
        let transport: ScriptedTransport
        let s3: S3
        let table: DynamoDB

        init(_ answers: [ScriptedTransport.Answer]) {
            transport = ScriptedTransport(answers)
            var effects = AWSService.Effects()
            effects.sleep = { _ in }
            let service = { [transport] (name: String) in
                AWSService(
                    signingName: name, region: "eu-west-1", origin: "https://\(name).eu-west-1.amazonaws.com",
                    credentials: CredentialsProvider(
                        sources: [ScriptedSource([.success(.number(1))])], clock: AWSClock()),
                    transport: transport, retries: RetryPolicy(service: name, maximumAttempts: 2), effects: effects)
            }
            var limits = S3.Limits()
            (limits.largestSinglePut, limits.partBytes) = (8, 8)
            s3 = S3(bucket: "box", caller: service("s3"), limits: limits) { request, _ in request.url }
            table = DynamoDB(table: "box", caller: service("dynamodb"))
        }
    }

    private static func html(_ status: Int, _ headers: [TransferHeader] = []) -> ScriptedTransport.Answer {
        ScriptedTransport.answer(status, page, headers: [TransferHeader("Content-Type", "text/html")] + headers)
    }

    private static let tag = TransferHeader("ETag", "\"e\"")
    /// `printf hello | openssl dgst -sha256 -binary | base64`
    private static let digest = TransferHeader(
        "x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")

    // MARK: S3

    /// What S3 never answers: each twice, since a repeatable call is repeated.
    private static let notS3: [ScriptedTransport.Answer] = [
        html(200), html(200, [tag]), html(204), html(302, [TransferHeader("Location", "http://portal.example/in?x=1")]),
        ScriptedTransport.answer(202),
    ]

    @Test(arguments: notS3.indices) func anObjectIsStoredOnlyIfS3SaysSo(_ index: Int) async {
        let answer = Self.notS3[index]
        let fixture = Fixture([answer, answer])
        let error = await awsError { try await fixture.s3.putObject("k", body: Array("hello".utf8), contentType: "") }
        #expect(error?.operation == "PutObject")
        let isRedirected = error?.status == 302
        #expect(error?.code == (isRedirected ? AWSError.redirectedCode : AWSError.unreadableCode))
        #expect(error?.isOutcomeUnknown == !isRedirected)
        #expect(fixture.transport.sent.count == (isRedirected ? 1 : 2))
        #expect(error?.message.contains(isRedirected ? "http://portal.example:" : "not S3's") == true, "\(error!)")
        #expect(error?.message.contains("log in") == false && error?.message.contains("x=1") == false)
    }

    @Test func thePutIsRepeatedUntilS3Answers() async throws {
        let fixture = Fixture([Self.html(200), ScriptedTransport.answer(200, headers: [Self.tag, Self.digest])])
        try await fixture.s3.putObject("k", body: Array("hello".utf8), contentType: "")
        #expect(fixture.transport.unused == 0)
    }

    @Test func whatWasStoredIsWhatWasSent() async {
        let answer = ScriptedTransport.answer(200, headers: [Self.tag, Self.digest])
        let fixture = Fixture([answer, answer])
        let error = await awsError { try await fixture.s3.putObject("k", body: Array("hellO".utf8), contentType: "") }
        #expect(error?.code == AWSError.unreadableCode && error?.message.contains("SHA-256 differs") == true)
    }

    @Test(arguments: notS3.indices) func aPartIsStoredOnlyIfS3SaysSo(_ index: Int) async {
        let created = ScriptedTransport.answer(200, "<X><UploadId>u</UploadId></X>")
        let answer = Self.notS3[index]
        let aborted = ScriptedTransport.answer(204)
        let isRedirected = index == 3
        let fixture = Fixture([created, answer] + (isRedirected ? [] : [answer]) + [aborted])
        let body = Array("longer than it may be".utf8)
        let error = await awsError { try await fixture.s3.putObject("k", body: body, contentType: "") }
        #expect(error?.operation == "UploadPart" && fixture.transport.unused == 0)
        #expect(error?.code == (isRedirected ? AWSError.redirectedCode : AWSError.unreadableCode))
    }

    /// A name, what S3 would answer, and what it would not.
    @Test func readsAndRemovalsAreS3sToo() async throws {
        typealias Call = @Sendable (S3) async throws -> Void
        let size = TransferHeader("Content-Length", "24")
        let cases: [(String, Call, [ScriptedTransport.Answer], [ScriptedTransport.Answer])] = [
            (
                "GetObject", { _ = try await $0.getObject("k") },
                [ScriptedTransport.answer(200, "x", headers: [Self.tag])],
                [Self.html(200), ScriptedTransport.answer(206, "x", headers: [Self.tag]), Self.html(302)]
            ),
            (
                "HeadObject", { _ = try await $0.headObject("k") },
                [ScriptedTransport.answer(200, headers: [Self.tag, size])],
                [
                    ScriptedTransport.answer(200, headers: [size]), ScriptedTransport.answer(200, headers: [Self.tag]),
                    ScriptedTransport.answer(204, headers: [Self.tag, size]), Self.html(307),
                ]
            ),
            (
                "DeleteObject", { try await $0.deleteObject("k") },
                [ScriptedTransport.answer(204), ScriptedTransport.answer(200, "\n")],
                [Self.html(200), Self.html(204), ScriptedTransport.answer(202), Self.html(302)]
            ),
            (
                "ListObjectsV2", { _ = try await $0.listObjects() },
                [ScriptedTransport.answer(200, "<ListBucketResult/>")],
                [Self.html(200), ScriptedTransport.answer(201, "<ListBucketResult/>"), Self.html(302)]
            ),
        ]
        for (name, call, good, bad) in cases {
            for answer in good { try await call(Fixture([answer]).s3) }
            for answer in bad {
                let fixture = Fixture([answer, answer])
                let error = await awsError { try await call(fixture.s3) }
                #expect(error?.operation == name)
                let code = 300..<400 ~= (error?.status ?? 0) ? AWSError.redirectedCode : AWSError.unreadableCode
                #expect(error?.code == code, "\(name)")
            }
        }
    }

    /// S3 keeps only a digest of the parts' digests, so that what was put in parts is compared with its metadata.
    @Test func anObjectInPartsIsComparedWithItsDigest() async throws {
        let ofParts = TransferHeader("x-amz-checksum-sha256", "AAAA-2")
        let digest = { (text: String) in TransferHeader("x-amz-meta-sha256", text) }
        let right = digest("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        for headers in [[Self.tag, ofParts, right], [Self.tag, right]] {
            let fixture = Fixture([
                ScriptedTransport.answer(200, "hello", headers: headers),
                ScriptedTransport.answer(200, "hellO", headers: headers),
            ])
            #expect(try await fixture.s3.getObject("k") == Array("hello".utf8))
            #expect(await awsError { _ = try await fixture.s3.getObject("k") }?.code == "ChecksumMismatch")
        }
    }

    /// A bucket elsewhere: by the header, which every such answer of S3 has, or by its document; and by neither.
    @Test func aRedirectNamesTheRegionIfS3Does() async throws {
        let document = "<Error><Code>PermanentRedirect</Code><Message>there</Message><Endpoint>e</Endpoint></Error>"
        let region = TransferHeader("x-amz-bucket-region", "eu-central-1")
        let fixture = Fixture([
            ScriptedTransport.answer(301, document, headers: [region]),
            ScriptedTransport.answer(307, headers: [region]),
            ScriptedTransport.answer(301, document), ScriptedTransport.answer(307), Self.html(301),
        ])
        var errors: [AWSError?] = []
        for _ in 0..<5 { errors.append(await awsError { _ = try await fixture.s3.getObject("k") }) }
        #expect(errors.map { $0?.status } == [301, 307, 301, 307, 301])
        #expect(
            errors.map { $0?.code } == [
                "PermanentRedirect", "TemporaryRedirect", "PermanentRedirect", AWSError.redirectedCode,
                AWSError.redirectedCode,
            ])
        #expect(errors.map { $0?.detail(.region) } == ["eu-central-1", "eu-central-1", nil, nil, nil])
        #expect(errors[0]?.message == "there" && errors.allSatisfy { $0?.isOutcomeUnknown == false })
    }

    // MARK: DynamoDB

    private static let write = DynamoDBWrite(.put(["pk": "a"]))
    private static let calls: [@Sendable (DynamoDB) async throws -> Void] = [
        { _ = try await $0.write(write) }, { _ = try await $0.transact([write]) },
        { _ = try await $0.get(["pk": "a"]) },
        { _ = try await $0.query(DynamoDB.Query(DynamoDBExpression("pk = :pk", ["pk": "T"]), limit: 1)) },
    ]
    private static let object = #"{"Items":[]}"#

    private static func typed(_ type: String?, _ body: String = object, status: Int = 200, crc: String? = nil)
        -> ScriptedTransport.Answer
    {
        let headers =
            (type.map { [TransferHeader("content-type", $0)] } ?? [])
            + (crc.map { [TransferHeader("X-Amz-Crc32", $0)] } ?? [])
        return ScriptedTransport.answer(status, body, headers: headers)
    }

    private static let json = "application/x-amz-json-1.0"
    private static let notDynamoDB: [ScriptedTransport.Answer] = [
        html(200), typed("text/html"), typed(json, page), typed(json, ""), typed(json, "[]"), typed(json, #"{"a":1"#),
        typed(json, status: 201), typed(json, status: 204), typed(nil, page), typed(json, crc: "1"),
        typed(json, crc: "none"), typed("text/html;" + json),
    ]

    @Test(arguments: notDynamoDB.indices) func onlyDynamoDBsAnswerIsDone(_ index: Int) async {
        let answer = Self.notDynamoDB[index]
        for call in Self.calls {
            let fixture = Fixture([answer, answer])
            let error = await awsError { try await call(fixture.table) }
            #expect(error?.code == AWSError.unreadableCode && error?.isOutcomeUnknown == true)
            #expect(fixture.transport.sent.count == 2)
        }
    }

    @Test func aRedirectIsNotDone() async {
        for call in Self.calls {
            let fixture = Fixture([Self.html(302)])
            let error = await awsError { try await call(fixture.table) }
            #expect(error?.code == AWSError.redirectedCode && error?.status == 302)
        }
    }

    /// `python3 -c 'import zlib; print(zlib.crc32(b"{\"Items\":[]}"))'`
    private static let crc = "2770214093"

    @Test func dynamoDBsAnswersAreTaken() async throws {
        let packed = ScriptedTransport.answer(
            200, Self.object, headers: [TransferHeader("x-amz-crc32", "1"), TransferHeader("Content-Encoding", "gzip")])
        for answer in [
            Self.typed(Self.json), Self.typed(nil), Self.typed("Application/X-Amz-JSON-1.0 ; charset=utf-8"),
            Self.typed(Self.json, crc: Self.crc), Self.typed(Self.json, "\n" + Self.object + "\r\n"), packed,
        ] {
            for call in Self.calls {
                // The one before is repeated.
                try await call(Fixture([Self.html(200), answer]).table)
            }
        }
    }

    /// A refusal steers what is done next, so that a damaged one is asked for again.
    @Test func aDamagedRefusalIsNoRefusal() async throws {
        let body = #"{"__type":"x#ConditionalCheckFailedException","Item":{"n":{"N":"4"}}}"#
        let fixture = Fixture([
            Self.typed(Self.json, body.replacing("4", with: "5"), status: 400, crc: "1149392417"),
            Self.typed(Self.json, body, status: 400, crc: "1149392417"),
        ])
        #expect(try await fixture.table.write(Self.write) == .refused(["n": 4]))
        #expect(fixture.transport.sent.count == 2)
    }

    @Test func whoeverAnswersInPlaceOfTheServiceAsksTheSame() throws {
        let request = AWSRequest(
            operation: "X", transfer: TransferRequest(method: "GET", origin: "http://a"), isRepeatable: true,
            check: .removed)
        #expect(try request.checked(TransferResponse(status: 204)).status == 204)
        #expect(throws: AWSError.self) { try request.checked(TransferResponse(status: 200, body: [1])) }
    }
}
