import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// The two ends of a pipe.
final class LogPipe {
    let reading: Int32
    let writing: Int32

    init() {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        reading = ends[0]
        writing = ends[1]
        _ = fcntl(reading, F_SETFL, O_NONBLOCK)
    }

    deinit {
        close(reading)
        close(writing)
    }

    /// All that has been written so far.
    func read() -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = Foundation.read(reading, &buffer, buffer.count), count > 0 { bytes += buffer[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}

struct LoggingTests {
    let pipe = LogPipe()

    func logger(isJSON: Bool = true, known: [Secret] = []) -> Logger {
        let output = LogOutput(descriptor: pipe.writing)
        return Logger(label: "test") { label in
            JSONLogHandler(
                label: label,
                level: .debug,
                isJSON: isJSON,
                output: output,
                redaction: LogRedaction(known: known),
                now: { Date(timeIntervalSince1970: 1_782_864_000.0625) }
            )
        }
    }

    func objects() throws -> [[String: Any]] {
        try pipe.read().split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    @Test func messagesAreJSONObjects() throws {
        var logger = logger()
        logger[metadataKey: "session_id"] = "s-1"
        logger.info(
            "started",
            metadata: ["tenant_id": "t-1", "list": ["a", "b"], "map": ["k": .stringConvertible(1)]]
        )
        logger.trace("not this")
        let objects = try objects()
        #expect(objects.count == 1)
        let object = try #require(objects.first)
        #expect(object["ts"] as? String == "2026-07-01T00:00:00.062Z")
        #expect(object["level"] as? String == "info")
        #expect(object["message"] as? String == "started")
        #expect(object["logger"] as? String == "test")
        #expect(object["session_id"] as? String == "s-1")
        #expect(object["tenant_id"] as? String == "t-1")
        #expect(object["list"] as? [String] == ["a", "b"])
        #expect(object["map"] as? [String: String] == ["k": "1"])
    }

    @Test func metadataCannotReplaceTheMessage() throws {
        logger().info("real", metadata: ["message": "forged", "level": "forged"])
        let object = try #require(try objects().first)
        #expect(object["message"] as? String == "real")
        #expect(object["metadata.message"] as? String == "forged")
        #expect(object["metadata.level"] as? String == "forged")
    }

    @Test func controlCharactersAreEscaped() throws {
        let nasty = "a\n{\"level\":\"forged\"}\r\u{1b}[31m\u{9b}2J\u{7f}\0\\ é 語"
        logger().info("\(nasty)", metadata: ["k\n": "\(nasty)"])
        let raw = pipe.read()
        #expect(raw.filter { $0 == "\n" }.count == 1)
        #expect(!raw.unicodeScalars.dropLast().contains { $0.properties.generalCategory == .control })
        let object = try JSONSerialization.jsonObject(with: Data(raw.utf8)) as? [String: Any]
        #expect(object?["message"] as? String == nasty)
        #expect(object?["k\n"] as? String == nasty)
        logger(isJSON: false).info("\(nasty)")
        #expect(!pipe.read().unicodeScalars.dropLast().contains { $0.properties.generalCategory == .control })
    }

    @Test func textIsForPeople() {
        logger(isJSON: false).warning("odd", metadata: ["session_id": "s-1", "list": ["a"]])
        #expect(pipe.read() == "2026-07-01T00:00:00.062Z WARNING odd list=[\"a\"] session_id=s-1\n")
    }

    @Test(arguments: [true, false])
    func linesFitIntoOneWrite(isJSON: Bool) throws {
        let long = String(repeating: "語\u{1}", count: 40_000)
        logger(isJSON: isJSON).info("\(long)", metadata: ["a": "\(long)", "b": "\(long)", "c": "\(long)"])
        let raw = pipe.read()
        #expect(raw.utf8.count <= LogOutput.maximumBytes)
        #expect(raw.hasSuffix("\n"))
        if isJSON {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(raw.utf8)) as? [String: Any])
            #expect(object["truncated"] as? Bool == true)
        }
    }

    @Test func nobodyReadingDoesNotStopTheLogger() throws {
        let logger = logger()
        let filler = String(repeating: "x", count: 1_000)
        // Far more than a pipe holds.
        for _ in 0..<500 { logger.info("\(filler)") }
        let before = try objects()
        #expect(before.count < 500)
        logger.info("after")
        let after = try objects()
        #expect(
            after.map { $0["message"] as? String } == [
                "log messages were dropped because nobody read them", "after",
            ]
        )
        #expect(after.first?["dropped"] as? String == "\(500 - before.count)")
    }

    static let random = (0..<32).map { UInt8(truncatingIfNeeded: $0 * 37 + 11) }
    static let liveKey = SecretFormat.make(.liveKey, random: random)
    static let testKey = SecretFormat.make(.testKey, random: random)
    static let adminToken = SecretFormat.make(.adminToken, random: random)
    static let accessToken =
        AccessToken(
            key: KeyID(SecretFormat.makeName(prefix: "key_", random: Array(random.prefix(16)))),
            expiresAt: 1,
            scopes: [.listen]
        ).encoded { _ in random } ?? ""

    @Test(arguments: [liveKey, testKey, adminToken, accessToken])
    func secretsOfOursAreReplaced(secret: String) {
        let hidden = secret.split(separator: "_").last.map(String.init) ?? ""
        #expect(hidden.count > 40)
        for isJSON in [true, false] {
            let logger = logger(isJSON: isJSON)
            logger.info("key \(secret) was refused")
            logger.info("GET /v1/listen?token=\(secret)&x=1 HTTP/1.1")
            logger.info(
                "x\(secret)",
                metadata: ["a": "\(secret)", "b": [.string(secret)], "c": ["d": .string(secret)]]
            )
            logger.info(
                "with an error",
                metadata: ["error": .stringConvertible(HansardError(.invalid, secret).message)]
            )
        }
        let raw = pipe.read()
        #expect(!raw.contains(hidden))
        #expect(raw.contains("***&x=1 HTTP/1.1"))
        #expect(raw.contains("_*** was refused"))
    }

    @Test(arguments: [
        ("Authorization: Token abc", "Authorization: ***"),
        ("authorization: bearer abc, x", "authorization: ***, x"),
        (#"{"Authorization":"Basic dTpw","x":"y"}"#, #"{"Authorization":"***","x":"y"}"#),
        ("sec-websocket-protocol: token, 0123456789abcdef0123", "sec-websocket-protocol: token, ***"),
        ("Bearer eyJhbGciOi.eyJzdWIi.c2ln", "Bearer ***"),
        ("BEARER 0123456789abcdef", "BEARER ***"),
        ("postgresql://u:hunter2@db/x", "postgresql://u:***@db/x"),
        ("two: http://a:b@c, http://d:e@f/", "two: http://a:***@c, http://d:***@f/"),
        ("host=db password=hunter2 user=u", "host=db password=*** user=u"),
        ("client_secret=hunter2&x=1", "client_secret=***&x=1"),
        ("a-secret-that-is-configured!", "***!"),
    ])
    func whatLooksLikeACredentialIsReplaced(text: String, expected: String) {
        #expect(LogRedaction(known: [Secret("a-secret-that-is-configured")]).redact(text) == expected)
    }

    @Test func secretsOfTheSettingsAreKnown() {
        var settings = Settings()
        settings.secrets = [Secret("the-key-of-access-tokens")]
        settings.eventsSecrets = [Secret("whsec_Zmlyc3Q"), Secret("whsec_c2Vjb25k")]
        settings.eventsAuthorization = Secret("Meter om_of-the-meter")
        settings.deepgramKey = Secret("0123456789abcdef")
        let redaction = LogRedaction(known: settings.knownSecrets)
        for text in [
            "the-key-of-access-tokens", "whsec_Zmlyc3Q", "whsec_c2Vjb25k", "c2Vjb25k", "Meter om_of-the-meter",
            "om_of-the-meter", "0123456789abcdef",
        ] {
            #expect(redaction.redact("it said \(text)!") == "it said ***!")
        }
    }

    @Test(arguments: [
        "the token is refused", "token expired", "hsk_ is how keys begin", "http://127.0.0.1:8080/v1/listen?x=a:b@c",
        "Bearer", "a secret is missing", "session 0123456789abcdef0123 ended", "basic authentication", "10:20:30", "",
        "https://example.net:443/@x",
    ])
    func ordinaryWordsStay(text: String) {
        #expect(LogRedaction(known: [Secret("short")]).redact(text) == text)
    }

    @Test func valuesUnderSecretNamesAreReplaced() throws {
        logger().info(
            "x",
            metadata: ["Authorization": "abc", "db_password": ["p"], "nested": ["api_key": "abc", "ok": "v"]]
        )
        let object = try #require(try objects().first)
        #expect(object["Authorization"] as? String == "***")
        #expect(object["db_password"] as? String == "***")
        #expect(object["nested"] as? [String: String] == ["api_key": "***", "ok": "v"])
    }

    @Test func timestampsAreRFC3339() {
        #expect(LogLine.timestamp(Date(timeIntervalSince1970: 0)) == "1970-01-01T00:00:00.000Z")
        #expect(LogLine.timestamp(Date(timeIntervalSince1970: 951_782_399.999)) == "2000-02-28T23:59:59.999Z")
    }
}
