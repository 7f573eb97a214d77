import Crypto
import Foundation
import HTTPClient
import Testing

@testable import AWS

@Suite struct TranscribeStreamingRequestTests {
    private typealias Request = TranscribeStreamingRequest

    private static let id = UUID(uuidString: "12345678-1234-1234-1234-123456789012")
    private static let date = Date(timeIntervalSince1970: 1_440_938_160)
    /// The key pair of AWS's own test suite.
    private static let credentials = AWSCredentials(
        accessKeyID: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

    private func signer(_ credentials: AWSCredentials = credentials, region: String = "us-west-2") -> SigV4 {
        SigV4(credentials: credentials, region: region, service: "transcribe", date: Self.date)
    }

    private func text(_ request: Request) throws -> String {
        try request.queryItems().map { "\($0.name)=\($0.value)" }.joined(separator: "&")
    }

    // MARK: Address

    @Test func theAddressIsSignedAsTheVector() throws {
        var request = Request(sampleRate: 16_000, language: .code("en-US"))
        request.sessionID = Self.id
        let origin = try AWSConfiguration.test(["AWS_REGION": "us-west-2"]).origin(of: .transcribeStreaming)
        let target = try request.target(origin: origin, signer: signer(), expiringAfter: .seconds(300))
        let parts = target.url.split(separator: "?", omittingEmptySubsequences: false)
        #expect(
            parts[0] == "https://transcribestreaming.us-west-2.amazonaws.com:8443/stream-transcription-websocket")
        let own =
            "language-code=en-US&media-encoding=pcm&sample-rate=16000&session-id=12345678-1234-1234-1234-123456789012"
        #expect(
            parts[1].hasPrefix(own + "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2F"))
        #expect(parts[1].contains("&X-Amz-Expires=300&X-Amz-SignedHeaders=host&"))
        let signature = "cda4c63eabc0454d0c31ceb8fae62d7121f7b3c16662fc23c8de98c9e314b616"
        #expect(parts[1].hasSuffix("&X-Amz-Signature=" + signature))
        #expect(target.signature.hexadecimal == signature)

        let unsigned = String(parts[1].dropLast("&X-Amz-Signature=".count + 64))
        let canonical = CanonicalRequest(
            TransferRequest(method: "GET", origin: origin, path: TranscribeStreamingTarget.path, query: unsigned),
            pathRule: .normalizedAndEncodedAgain)
        #expect(
            SHA256.hash(canonical.bytes(payloadHash: SHA256.hash([]).hexadecimal)).hexadecimal
                == "b6cd6952edda77995dfdef7e731440eae3dd1ea40e4941a90f82d5dfb377346e")
    }

    @Test func theSessionTokenIsSignedAndNotShown() throws {
        var credentials = Self.credentials
        credentials.sessionToken = "secret/token=="
        let request = Request(sampleRate: 8_000, language: .code("de-DE"))
        let target = try request.target(origin: "http://127.0.0.1:4000", signer: signer(credentials))
        #expect(target.url.contains("&X-Amz-Expires=60&"))
        let token = try #require(target.url.firstRange(of: "&X-Amz-Security-Token=secret%2Ftoken%3D%3D"))
        let signature = try #require(target.url.firstRange(of: "&X-Amz-Signature="))
        #expect(token.lowerBound < signature.lowerBound)
        #expect("\(target)" == "http://127.0.0.1:4000/stream-transcription-websocket")
        var dumped = ""
        dump([target], to: &dumped)
        #expect(!dumped.contains("secret") && !dumped.contains("Signature"))
        // Without the token the signature is another one.
        #expect(try target.signature != request.target(origin: "http://127.0.0.1:4000", signer: signer()).signature)
    }

    @Test func theOriginIsAsConfigured() throws {
        func origin(_ variables: [String: String]) throws -> String {
            try AWSConfiguration.test(variables).origin(of: .transcribeStreaming)
        }
        let cases = [
            (["AWS_REGION": "eu-west-1"], "https://transcribestreaming.eu-west-1.amazonaws.com:8443"),
            (["AWS_REGION": "cn-north-1"], "https://transcribestreaming.cn-north-1.amazonaws.com.cn:8443"),
            (
                ["AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"],
                "https://transcribestreaming-fips.us-east-1.amazonaws.com:8443"
            ),
            (
                ["AWS_REGION": "us-east-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"],
                "https://transcribestreaming.us-east-1.api.aws:8443"
            ),
            (["AWS_ENDPOINT_URL_TRANSCRIBE_STREAMING": "http://127.0.0.1:9000"], "http://127.0.0.1:9000"),
            (["AWS_ENDPOINT_URL": "https://[::1]"], "https://[::1]"),
        ]
        for (variables, expected) in cases { #expect(try origin(variables) == expected) }
        // The port is this service's alone.
        #expect(
            try AWSConfiguration.test(["AWS_REGION": "eu-west-1"]).origin(of: .sts)
                == "https://sts.eu-west-1.amazonaws.com")
    }

    @Test func aServiceGivesWhatSigns() async throws {
        let configuration = try AWSConfiguration.test(["AWS_REGION": "us-west-2"])
        let clock = AWSClock(machine: { Self.date })
        let source = ScriptedSource([.success(Self.credentials)])
        let service = try configuration.service(
            .transcribeStreaming, credentials: CredentialsProvider(sources: [source], clock: clock),
            transport: ScriptedTransport([]), clock: clock)
        let target = try await Request(sampleRate: 16_000, language: .code("en-US")).target(
            origin: service.origin, signer: service.currentSigner())
        let same = try Request(sampleRate: 16_000, language: .code("en-US")).target(
            origin: service.origin, signer: signer())
        #expect(target == same)
    }

    // MARK: Parameters

    @Test func everyParameterInItsPlace() throws {
        var request = Request(sampleRate: 48_000, encoding: .oggOpus, language: .code("en-US"))
        request.channelCount = 2
        request.vocabularyNames = ["words.v1"]
        request.vocabularyFilterNames = ["bad_words"]
        request.vocabularyFilterMethod = .mask
        request.languageModelName = "model-1"
        request.partialResultsStability = .high
        request.personalInformation = .init(.redact, types: [.name, .cardNumber])
        #expect(
            try text(request) == """
                content-redaction-type=PII&enable-channel-identification=true&\
                enable-partial-results-stabilization=true&language-code=en-US&language-model-name=model-1&\
                media-encoding=ogg-opus&number-of-channels=2&partial-results-stability=high&\
                pii-entity-types=NAME,CREDIT_DEBIT_NUMBER&sample-rate=48000&vocabulary-filter-method=mask&\
                vocabulary-filter-name=bad_words&vocabulary-name=words.v1
                """)
    }

    @Test func identifiedLanguages() throws {
        var request = Request(
            sampleRate: 8_000, encoding: .flac,
            language: .identifyMultiple(options: ["en-US", "ckb-IQ"], preferred: "en-US"))
        request.showsSpeakers = true
        request.vocabularyNames = ["one"]
        request.vocabularyFilterNames = ["a", "b"]
        request.personalInformation = .init(.identify)
        #expect(
            try text(request) == """
                content-identification-type=PII&identify-multiple-languages=true&language-options=en-US,ckb-IQ&\
                media-encoding=flac&preferred-language=en-US&sample-rate=8000&show-speaker-label=true&\
                vocabulary-filter-names=a,b&vocabulary-names=one
                """)
        request = Request(sampleRate: 8_000, language: .identifyOne(options: ["en-US", "de-DE"]))
        #expect(
            try text(request)
                == "identify-language=true&language-options=en-US,de-DE&media-encoding=pcm&sample-rate=8000")
    }

    @Test func whatTheServiceWouldRefuseIsRefused() {
        func refused(_ parameter: String, _ change: (inout Request) -> Void) {
            var request = Request(sampleRate: 16_000, language: .code("en-US"))
            change(&request)
            let error = #expect(throws: TranscribeRequestError.self) { try request.queryItems() }
            #expect(error?.parameter == parameter, "\(String(describing: error))")
        }
        for rate in [0, -1, 7_999, 48_001, .max] { refused("sample-rate") { $0.sampleRate = rate } }
        for count in [0, -1, 3] { refused("number-of-channels") { $0.channelCount = count } }
        refused("show-speaker-label") {
            $0.channelCount = 2
            $0.showsSpeakers = true
        }
        for code in [
            "", "en", "en-us", "EN-US", "en-US-x", "english-US", "en-USA", "en_US", "e\u{301}n-US", "en-US&a=b",
        ] {
            refused("language-code") { $0.language = .code(code) }
        }
        for options in [[], ["en-US"], ["en-US", "en-GB"], ["en-US", "x"], ["de-DE", "de-DE"]] {
            refused("language-options") { $0.language = .identifyOne(options: options) }
            refused("language-options") { $0.language = .identifyMultiple(options: options) }
        }
        let all = "abcdefghijklmnopqrstuvwxyz".flatMap { ["a\($0)-XX", "b\($0)-XX"] }
        refused("language-options") { $0.language = .identifyMultiple(options: all) }
        refused("preferred-language") {
            $0.language = .identifyOne(options: ["en-US", "de-DE"], preferred: "fr-FR")
        }
        for name in ["", "a b", "ä", String(repeating: "a", count: 201), "a,b", "a/b"] {
            refused("vocabulary-name") { $0.vocabularyNames = [name] }
            refused("vocabulary-filter-name") { $0.vocabularyFilterNames = [name] }
            refused("language-model-name") { $0.languageModelName = name }
        }
        refused("vocabulary-name") { $0.vocabularyNames = ["a", "b"] }
        refused("vocabulary-filter-name") { $0.vocabularyFilterNames = ["a", "b"] }
        refused("vocabulary-filter-method") { $0.vocabularyFilterMethod = .tag }
        refused("language-model-name") {
            $0.language = .identifyOne(options: ["en-US", "de-DE"])
            $0.languageModelName = "model"
        }
        refused("vocabulary-names") {
            $0.language = .identifyOne(options: ["en-US", "de-DE"])
            $0.vocabularyNames = Array(repeating: String(repeating: "a", count: 200), count: 15)
        }
    }

    @Test func errorsSayWhatWouldBeRight() {
        let rate = #expect(throws: TranscribeRequestError.self) {
            try Request(sampleRate: 96_000, language: .code("en-US")).validate()
        }
        #expect(rate.map { "\($0)" } == "sample-rate: 96000 Hz is out of 8000 to 48000 Hz")
        let code = #expect(throws: TranscribeRequestError.self) {
            try Request(sampleRate: 16_000, language: .code("english")).validate()
        }
        #expect(code.map { "\($0)" } == "language-code: \"english\" is none: it would be like en-US")
    }
}

/// Addresses against those of AWS's own SDK for Python.
@Suite struct TranscribeBotocoreTests {
    private struct Question: Encodable {
        var url: String
        var key: String
        var secret: String
        var token: String?
        var region: String
        var date: Int
        var lifetime: Int
    }

    private struct Answer: Decodable {
        var expected: String
        var signed: String
        var parameters: [String: String]
    }

    @Test(
        .enabled(if: TranscribeReference.isNeeded, "needs .venvs/tests, which `make venv` makes"),
        .timeLimit(.minutes(10)))
    func twoThousandRandomAddressesAreSignedAlike() throws {
        var random = SeededGenerator(seed: 8_443)
        var questions: [String] = []
        var requests: [TranscribeStreamingRequest] = []
        for _ in 0..<2_000 {
            let request = TranscribeStreamingRequest.random(&random)
            requests.append(request)
            questions.append(try Self.question(request, &random))
        }
        let answers = try TranscribeReference.lines(of: Answer.self, ["presign"], input: questions)
        try #require(answers.count == requests.count)
        for (index, answer) in answers.enumerated() {
            let items = try requests[index].queryItems()
            let parameters = Dictionary(uniqueKeysWithValues: items.map { ($0.name, $0.value) })
            guard answer.signed == answer.expected, answer.parameters == parameters else {
                Issue.record("differs: \(questions[index])")
                return
            }
        }
    }

    private static func question(
        _ request: TranscribeStreamingRequest, _ random: inout SeededGenerator
    ) throws -> String {
        func word(_ longest: Int) -> String {
            let alphabet = Array("abcXYZ019/+=-._~")
            return String((0..<longest).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &random)] })
        }
        let regions = ["eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1"]
        var question = Question(
            url: "", key: "AKIA" + word(16), secret: word(40), token: Bool.random(using: &random) ? word(300) : nil,
            region: regions[Int.random(in: 0..<4, using: &random)],
            date: Int.random(in: 0...4_102_444_800, using: &random),
            lifetime: Int.random(in: 1...300, using: &random))
        let origins = [
            try AWSConfiguration.test(["AWS_REGION": question.region]).origin(of: .transcribeStreaming),
            "http://127.0.0.1:\(Int.random(in: 1...65_535, using: &random))", "https://[::1]:443", "http://stand-in",
        ]
        let signer = SigV4(
            credentials: AWSCredentials(
                accessKeyID: question.key, secretAccessKey: question.secret, sessionToken: question.token),
            region: question.region, service: "transcribe", date: Date(timeIntervalSince1970: Double(question.date)))
        question.url = try request.target(
            origin: origins[Int.random(in: 0..<4, using: &random)], signer: signer,
            expiringAfter: .seconds(question.lifetime)
        ).url
        return String(decoding: try JSONEncoder().encode(question), as: UTF8.self)
    }
}

extension TranscribeStreamingRequest {
    /// Any valid request.
    static func random(_ random: inout SeededGenerator) -> TranscribeStreamingRequest {
        func chance() -> Bool { Bool.random(using: &random) }
        let options = ["en-US", "de-DE", "ckb-IQ", "zh-HK"]
        let preferred = chance() ? options[1] : nil
        let languages: [Language] = [
            .code(options[0]), .identifyOne(options: options, preferred: preferred),
            .identifyMultiple(options: Array(options.prefix(2)), preferred: preferred),
        ]
        let language = languages[Int.random(in: 0..<3, using: &random)]
        var request = TranscribeStreamingRequest(
            sampleRate: Int.random(in: sampleRates, using: &random), encoding: chance() ? .pcm : .oggOpus,
            language: language)
        let names = language == languages[0] ? ["a.B_c-9"] : ["a.B_c-9", "d", "e"]
        request.channelCount = chance() ? 2 : 1
        request.showsSpeakers = request.channelCount == 1 && chance()
        if chance() { request.sessionID = UUID() }
        if chance() { request.vocabularyNames = names }
        if chance() {
            request.vocabularyFilterNames = names
            request.vocabularyFilterMethod = VocabularyFilterMethod.allCases.randomElement(using: &random)
        }
        if language == languages[0], chance() { request.languageModelName = "model" }
        if chance() { request.partialResultsStability = Stability.allCases.randomElement(using: &random) }
        if chance() {
            request.personalInformation = PersonalInformation(
                chance() ? .redact : .identify,
                types: PersonalInformationType.allCases.filter { _ in Bool.random(using: &random) })
        }
        return request
    }
}
