import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

/// A service whose network, clock, chance and sleep are the test's.
private final class ServiceFixture: Sendable {
    let transport: ScriptedTransport
    let machine = ManualClock()
    let source: ScriptedSource
    let service: AWSService
    let slept = Locked<[Duration]>([])
    let reported = Locked<[ClockError]>([])

    init(
        _ answers: [ScriptedTransport.Answer],
        credentials: [Result<AWSCredentials, CredentialsFailure>] = [.success(.number(1))], name: String = "dynamodb"
    ) {
        transport = ScriptedTransport(answers)
        source = ScriptedSource(credentials)
        let clock = AWSClock(machine: { [machine] in machine.now }) { [reported] error in
            reported.withLock { $0.append(error) }
        }
        var effects = AWSService.Effects()
        effects.random = { 0.5 }
        effects.sleep = { [slept] duration in slept.withLock { $0.append(duration) } }
        service = AWSService(
            signingName: name, region: "eu-west-1", origin: "https://dynamodb.eu-west-1.amazonaws.com",
            credentials: CredentialsProvider(sources: [source], clock: clock, random: { 0 }), transport: transport,
            clock: clock, effects: effects)
    }

    func request(isRepeatable: Bool = true) -> AWSRequest {
        AWSRequest(
            operation: "PutItem",
            transfer: TransferRequest(method: "POST", origin: service.origin, body: Array("{}".utf8)),
            isRepeatable: isRepeatable)
    }

    func error(isRepeatable: Bool = true) async throws -> AWSError {
        let error = await #expect(throws: AWSError.self) { try await service.call(request(isRepeatable: isRepeatable)) }
        return try #require(error)
    }

    /// By whom, and when, each attempt was signed.
    var signatures: [String] {
        transport.sent.map { request in
            let scope = request.header("Authorization")?.split(separator: "=").dropFirst().first?.prefix { $0 != "/" }
            return "\(scope ?? "nobody") \(request.header("X-Amz-Date") ?? "")"
        }
    }
}

@Suite struct AWSServiceTests {
    private static let ok = ScriptedTransport.answer(200, "{}")

    @Test func aCallIsSignedAndItsAnswerReturned() async throws {
        let fixture = ServiceFixture([Self.ok])
        let response = try await fixture.service.call(fixture.request())
        #expect(response.status == 200 && response.body == Array("{}".utf8))
        #expect(fixture.signatures == ["AKID1 20150830T123600Z"])
        #expect(fixture.transport.sent[0].header("X-Amz-Security-Token") == "open1")
        let scope = "AKID1/20150830/eu-west-1/dynamodb/aws4_request"
        #expect(fixture.transport.sent[0].header("Authorization")?.contains(scope) == true)
    }

    @Test func transientAndThrottledAnswersAreRepeatedWithJitter() async throws {
        let fixture = ServiceFixture([
            ScriptedTransport.error(500, "InternalServerError"), ScriptedTransport.error(400, "ThrottlingException"),
            ScriptedTransport.failure(28), Self.ok,
        ])
        _ = try await fixture.service.call(fixture.request())
        #expect(fixture.slept.withLock { $0 } == [.milliseconds(12.5), .seconds(1), .milliseconds(50)])
        #expect(fixture.service.retryTokens == 500 - 14 - 5)
    }

    @Test func whatIsNotRepeatableIsRepeatedOnlyIfItCannotHaveBeenDone() async throws {
        let safe = ServiceFixture([
            ScriptedTransport.failure(7, wasNotSent: true), ScriptedTransport.error(400, "ThrottlingException"),
            Self.ok,
        ])
        _ = try await safe.service.call(safe.request(isRepeatable: false))
        for answer in [ScriptedTransport.error(500, "InternalServerError"), ScriptedTransport.failure(56)] {
            let fixture = ServiceFixture([answer])
            let error = try await fixture.error(isRepeatable: false)
            #expect(error.isOutcomeUnknown && fixture.slept.withLock { $0.isEmpty })
        }
    }

    /// The answer to a later attempt says nothing of an earlier one that was not answered.
    @Test(arguments: [
        (400, "ConditionalCheckFailedException"), (400, "ThrottlingException"), (403, "AccessDeniedException"),
    ])
    func anOutcomeThatWasUnknownStaysSo(status: Int, code: String) async throws {
        let answers =
            [ScriptedTransport.failure(28)] + Array(repeating: ScriptedTransport.error(status, code), count: 3)
        let error = try await ServiceFixture(answers).error()
        #expect(error.code == code && error.isOutcomeUnknown)
        let alone = try await ServiceFixture(Array(answers.dropFirst()) + [answers[1]]).error()
        #expect(alone.code == code && !alone.isOutcomeUnknown)
        #expect(alone.isThrottling == (code == "ThrottlingException"))
    }

    @Test func errorsSayWhatTheServiceSaid() async throws {
        let error = try await ServiceFixture([
            ScriptedTransport.answer(400, #"{"__type":"a.b#ResourceNotFoundException","Message":"no table"}"#)
        ]).error()
        #expect(error.code == "ResourceNotFoundException" && error.message == "no table" && error.status == 400)
        #expect("\(error)" == "PutItem: ResourceNotFoundException (HTTP 400): no table")
        #expect(!error.body.isEmpty && !error.isOutcomeUnknown && !error.isThrottling)
        let lost = try await ServiceFixture([ScriptedTransport.failure(60, wasNotSent: true)]).error()
        #expect("\(lost)" == "PutItem: no answer: curl says (curl 60)" && !lost.isOutcomeUnknown)
    }

    @Test func credentialsThatEndedAreReplacedOnce() async throws {
        let fixture = ServiceFixture(
            [ScriptedTransport.error(400, "ExpiredTokenException"), Self.ok],
            credentials: [.success(.number(1)), .success(.number(2))])
        _ = try await fixture.service.call(fixture.request(isRepeatable: false))
        #expect(fixture.signatures == ["AKID1 20150830T123600Z", "AKID2 20150830T123600Z"])
        #expect(fixture.slept.withLock { $0.isEmpty } && fixture.service.retryTokens == 500)

        // The source has no better ones: nothing is sent again.
        let same = ServiceFixture([ScriptedTransport.error(403, "ExpiredToken")])
        #expect(try await same.error().code == "ExpiredToken")
        #expect(same.transport.sent.count == 1 && same.source.loads == 2)

        // New ones are refused as well.
        let twice = ServiceFixture(
            Array(repeating: ScriptedTransport.error(403, "ExpiredToken"), count: 2),
            credentials: [.success(.number(1)), .success(.number(2)), .success(.number(3))])
        #expect(try await twice.error().code == "ExpiredToken")
        #expect(twice.transport.sent.count == 2)
    }

    @Test func aWrongClockIsCorrectedAndReportedOnce() async throws {
        let ahead = Date(timeIntervalSince1970: 1_440_938_160 + 600)
        let late = ScriptedTransport.error(400, "InvalidSignatureException", date: ahead)
        let fixture = ServiceFixture([late, Self.ok, Self.ok, Self.ok])
        _ = try await fixture.service.call(fixture.request(isRepeatable: false))
        fixture.machine.advance(1)
        _ = try await fixture.service.call(fixture.request())
        #expect(
            fixture.signatures == ["AKID1 20150830T123600Z", "AKID1 20150830T124600Z", "AKID1 20150830T124601Z"])
        let reports = fixture.reported.withLock { $0 }
        #expect(reports.map(\.seconds) == [600])
        #expect(
            "\(reports[0])" == """
                this machine's clock is 10 min behind AWS's; requests are signed with AWS's time until it is set right
                """)
        let presigned = try await fixture.service.presign(fixture.request().transfer, expiringAfter: .seconds(60))
        #expect(presigned.query.contains("X-Amz-Date=20150830T124601Z"))
    }

    @Test func aClockThatIsSetRightAgainIsFollowed() async throws {
        let fixture = ServiceFixture([
            ScriptedTransport.error(
                403, "RequestTimeTooSkewed", date: Date(timeIntervalSince1970: 1_440_938_160 - 900)),
            Self.ok,
            ScriptedTransport.error(403, "RequestTimeTooSkewed", date: Date(timeIntervalSince1970: 1_440_938_162)),
            Self.ok,
        ])
        _ = try await fixture.service.call(fixture.request())
        _ = try await fixture.service.call(fixture.request())
        #expect(fixture.reported.withLock { $0.map(\.seconds) } == [-900, 0])
        #expect(fixture.signatures.last == "AKID1 20150830T123600Z")
        #expect("\(ClockError(seconds: -900))".hasPrefix("this machine's clock is 15 min ahead of AWS's"))
        #expect("\(ClockError(seconds: 0))" == "this machine's clock agrees with AWS's again")
    }

    @Test func aWrongSignatureAtTheRightTimeIsAWrongSecret() async throws {
        for date in [Date(timeIntervalSince1970: 1_440_938_160 + 100), nil] {
            let fixture = ServiceFixture([ScriptedTransport.error(403, "SignatureDoesNotMatch", date: date)])
            #expect(try await fixture.error().code == "SignatureDoesNotMatch")
            #expect(fixture.reported.withLock { $0.isEmpty })
        }
    }

    @Test func aRequestThatWaitedTooLongIsSignedAnewOnce() async throws {
        let expired = ScriptedTransport.error(403, "RequestExpired")
        let fixture = ServiceFixture([expired, expired])
        #expect(try await fixture.error().code == "RequestExpired")
        #expect(fixture.reported.withLock { $0.isEmpty } && fixture.transport.sent.count == 2)
    }

    @Test func withoutCredentialsNothingIsSent() async throws {
        let fixture = ServiceFixture([], credentials: [.failure(.notConfigured("AWS_ACCESS_KEY_ID is not set"))])
        let error = try await fixture.error()
        #expect("\(error)" == "PutItem: NoCredentials: no AWS credentials: script: AWS_ACCESS_KEY_ID is not set")
        #expect(!error.isOutcomeUnknown && fixture.transport.sent.isEmpty)
    }

    @Test func cancellationIsNotRepeated() async throws {
        let fixture = ServiceFixture([{ _ in throw CancellationError() }])
        await #expect(throws: CancellationError.self) { try await fixture.service.call(fixture.request()) }
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try await fixture.service.call(fixture.request())
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(fixture.transport.sent.count == 1)
    }

    @Test func theServicesOwnWaitIsKept() async throws {
        let slow = ScriptedTransport.answer(503, "", headers: [TransferHeader("x-amz-retry-after", "1500")])
        let odd = ScriptedTransport.answer(503, "", headers: [TransferHeader("x-amz-retry-after", "-1")])
        let fixture = ServiceFixture([slow, odd, Self.ok])
        _ = try await fixture.service.call(fixture.request())
        #expect(fixture.slept.withLock { $0 } == [.milliseconds(1_500), .milliseconds(25)])
    }

    @Test func manyCallsShareOneBucket() async throws {
        let fixture = ServiceFixture(Array(repeating: ScriptedTransport.error(503, "Down"), count: 10_000))
        await withTaskGroup { group in
            for _ in 0..<200 { group.addTask { _ = try? await fixture.service.call(fixture.request()) } }
        }
        // Each of them once, and the bucket's worth of repetitions.
        #expect(fixture.transport.sent.count == 200 + 500 / 14)
    }
}

@Suite struct AWSErrorBodyTests {
    private func parse(_ body: String, status: Int = 400, type: String? = nil) -> AWSErrorBody {
        AWSErrorBody(
            TransferResponse(
                status: status, headers: type.map { [TransferHeader("x-amzn-ErrorType", $0)] } ?? [],
                body: Array(body.utf8)))
    }

    @Test func eachWayToSayIt() {
        let cases: [(AWSErrorBody, String, String)] = [
            (parse(#"{"__type":"a#B","message":"m"}"#), "B", "m"),
            (parse(#" {"code":"C","Message":"m"}"#), "C", "m"),
            (parse(#"{"message":"m"}"#, type: "D:http://x/"), "D", "m"),
            (
                parse("<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>"),
                "NoSuchKey", "a & b"
            ),
            (parse("<ErrorResponse><Error><Type>Sender</Type><Code>X</Code></Error></ErrorResponse>"), "X", ""),
            (parse("", status: 404), "404", ""), (parse("Bad Gateway", status: 502), "502", ""),
            (parse("{", status: 500), "500", ""), (parse(#"{"__type":7}"#, status: 500), "500", ""),
            (parse(#"{"__type":"a#"}"#, status: 400), "400", ""), (parse("<Code><b/></Code>", status: 400), "400", ""),
        ]
        for (body, code, message) in cases { #expect(body.code == code && body.message == message) }
    }

    @Test func xmlTextTakesNothingItDoesNotUnderstand() {
        func first(_ document: String) -> String? { XMLText.first("A", in: Array(document.utf8)) }
        #expect(first("<A>x</A>") == "x" && first("<B><A></A></B>") == "")
        #expect(first("<A>&lt;&gt;&quot;&apos;&#65;&#x42;</A>") == "<>\"'AB")
        for broken in [
            "", "<A>", "<A>x", "<A>x</B>", "<A>x<B/></A>", "<A>&x;</A>", "<A>&</A>", "<A>&#xD800;</A>", "<A>&#-1;</A>",
            "<A >x</A>", "<A>&#99999999999;</A>",
            "<A>" + String(repeating: "x", count: XMLText.maximumLength + 1) + "</A>",
        ] { #expect(first(broken) == nil, "\(broken.prefix(40))") }
        #expect(XMLText.first("A", in: Array("<A>".utf8) + [0xff] + Array("</A>".utf8)) == nil)
    }

    @Test func brokenAnswersAreReadWithoutHarm() {
        var random = SeededGenerator(seed: 7)
        let seeds = [
            #"{"__type":"a.b#ThrottlingException","message":"m\u00e4"}"#,
            "<ErrorResponse><Error><Code>Throttling</Code><Message>a &amp; &#x42;</Message></Error></ErrorResponse>",
        ].map { Array($0.utf8) }
        for round in 0..<20_000 {
            let body = random.mutated(seeds[round % 2])
            let parsed = AWSErrorBody(TransferResponse(status: 500, body: body))
            if parsed.code.isEmpty { Issue.record("an empty code from \(String(decoding: body, as: UTF8.self))") }
        }
    }
}

/// Random numbers that are the same in each run (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// Bytes with some of them changed, doubled, cut out or cut off.
    mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &self)
            switch Int.random(in: 0..<5, using: &self) {
            case 0: bytes[index] = UInt8.random(in: 0...255, using: &self)
            case 1: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &self)], at: index)
            case 2: bytes.removeLast(bytes.count - index)
            case 3: bytes.removeSubrange(index..<min(bytes.count, index + 5))
            default: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 9)], at: index)
            }
        }
        return bytes
    }
}
