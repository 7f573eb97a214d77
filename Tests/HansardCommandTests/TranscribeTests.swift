import Foundation
import Testing
import Web

@testable import HansardCommand

private func result(_ text: String, final: Bool, start: Double = 0, words: String = "[]") -> [UInt8] {
    Array(
        """
        {"type":"Results","channel_index":[0,1],"start":\(start),"duration":1.5,"is_final":\(final),"speech_final":\(final),
        "channel":{"alternatives":[{"transcript":"\(text)","confidence":0.5,"words":\(words)}]}}
        """.utf8
    )
}
private let metadata = Array(#"{"type":"Metadata","channels":1}"#.utf8)

struct TranscriptPrinterTests {
    @Test func linesAreFinals() {
        var printer = TranscriptPrinter(style: .lines(interim: false))
        #expect(printer.received(result("go", final: false)) == "")
        #expect(printer.received(result("go forward", final: true)) == "go forward\n")
        #expect(printer.received(result("", final: true)) == "")
        #expect(printer.received(Array(#"{"type":"UtteranceEnd","channel":[0,1]}"#.utf8)) == "")
        #expect(printer.received(Array("not JSON".utf8)) == "")
        #expect(!printer.hasMetadata)
        #expect(printer.received(metadata) == "")
        #expect(printer.hasMetadata)
        #expect(printer.ended() == "")
    }

    @Test func interimLinesBeginWithAnEllipsis() {
        var printer = TranscriptPrinter(style: .lines(interim: true))
        #expect(printer.received(result("go", final: false)) == "… go\n")
        #expect(printer.received(result("", final: false)) == "")
        #expect(printer.received(result("go forward", final: true)) == "go forward\n")
    }

    @Test func terminalsRedrawTheLine() {
        let erase = "\r\u{1b}[K"
        var printer = TranscriptPrinter(style: .terminal(width: 10))
        #expect(printer.received(result("go", final: false)) == erase + "go")
        #expect(printer.received(result("go forward ten", final: false)) == erase + "…ward ten")
        #expect(printer.received(result("go forward ten", final: true)) == erase + "go forward ten\n")
        #expect(printer.received(result("", final: false)) == "")
        #expect(printer.received(result("me", final: false)) == erase + "me")
        #expect(printer.received(result("", final: false)) == erase)
        #expect(printer.received(result("me", final: false)) == erase + "me")
        #expect(printer.ended() == erase)
        #expect(printer.ended() == "")
    }

    @Test func wordsCannotCommandTheTerminal() {
        var printer = TranscriptPrinter(style: .lines(interim: false))
        #expect(printer.received(result(#"a\u001b[2Jb\nc"#, final: true)) == "a[2Jbc\n")
    }

    @Test func jsonIsPassedOn() {
        var printer = TranscriptPrinter(style: .json)
        #expect(printer.received(metadata) == String(decoding: metadata, as: UTF8.self) + "\n")
        #expect(printer.hasMetadata)
        #expect(printer.received(Array(#"{"type":"HansardNew"}"#.utf8)) == #"{"type":"HansardNew"}"# + "\n")
    }

    @Test func subtitlesComeAtTheEnd() {
        var printer = TranscriptPrinter(style: .subtitles)
        let words = #"[{"word":"go","start":0.5,"end":0.75,"confidence":1},{"word":"on","start":0.75,"end":1.0}]"#
        #expect(printer.received(result("go", final: false)) == "")
        #expect(printer.received(result("go on", final: true, words: words)) == "")
        #expect(printer.received(result("", final: true)) == "")
        #expect(printer.received(result("then", final: true, start: 61)) == "")
        #expect(
            printer.ended() == """
                1
                00:00:00,500 --> 00:00:01,000
                go on

                2
                00:01:01,000 --> 00:01:02,500
                then


                """
        )
    }
}

struct TranscribeEndingTests {
    func message(
        _ cause: WebSocketClosure.Cause,
        _ code: UInt16?,
        _ reason: String = "",
        metadata: Bool = true,
        interrupted: Bool = false
    ) -> String? {
        let closure = WebSocketClosure(cause: cause, code: code, reason: reason)
        return TranscribeEnding.failure(closure, hasMetadata: metadata, wasInterrupted: interrupted)?.message
    }

    @Test func onlyMetadataAnd1000AreSuccess() {
        #expect(message(.peer, 1000) == nil)
        #expect(message(.peer, 1000, metadata: false) == "the server closed the session before it was complete")
        #expect(message(.peer, 1008, "key revoked") == "the server closed the session with 1008: key revoked")
        #expect(message(.peer, 1005) == "the server closed the session with 1005")
        #expect(message(.connectionLost, nil) == "the connection to the server was lost")
        #expect(message(.timeout, nil, "no pong") == "the server does not answer any more: no pong")
        #expect(message(.violation, 1002, "bad frame") == "the server broke the protocol (1002): bad frame")
        #expect(message(.local, 1000, interrupted: true)?.hasPrefix("interrupted;") == true)
    }

    @Test func refusalsSayWhatToDo() {
        func told(_ status: Int, _ why: String?, retryAfter: String? = nil) -> String {
            let error = WebSocketConnectError(.refused(status: status), "x", dgError: why, retryAfter: retryAfter)
            return TranscribeEnding.failure(error, url: "http://h").message
        }
        #expect(
            told(401, "Invalid key") == "the server refused the session with HTTP 401: Invalid key\n"
                + "The key is not valid there: see --key."
        )
        #expect(told(503, nil, retryAfter: "5") == "the server refused the session with HTTP 503\nTry again in 5 s.")
        #expect(told(400, "model: x") == "the server refused the session with HTTP 400: model: x")
        let away = TranscribeEnding.failure(WebSocketConnectError(.connectionFailed, "refused"), url: "http://h")
        #expect(
            away.message.contains("http://h cannot be reached: refused\nIs the server running? Start it with make run")
        )
        #expect(away.status == .failed)
    }
}

struct TranscribeTargetTests {
    let file = DevEnvironmentFile(url: "http://dev", apiKey: "hsk_dev", adminToken: nil)

    func find(
        url: String? = nil,
        key: String? = nil,
        _ environment: [String: String] = [:],
        file: DevEnvironmentFile?
    ) throws -> TranscribeTarget {
        try TranscribeTarget.find(url: url, key: key, environment: environment) { file }
    }

    @Test func optionsComeBeforeEnvironmentBeforeFile() throws {
        let environment = ["HANSARD_URL": "http://env", "HANSARD_API_KEY": "hsk_env"]
        #expect(
            try find(url: "http://o", key: "k", environment, file: file) == TranscribeTarget(url: "http://o", key: "k")
        )
        #expect(try find(environment, file: file) == TranscribeTarget(url: "http://env", key: "hsk_env"))
        #expect(try find(file: file) == TranscribeTarget(url: "http://dev", key: "hsk_dev"))
        #expect(try find(url: "http://dev", file: file).key == "hsk_dev")
        #expect(try find(key: "k", file: file) == TranscribeTarget(url: "http://dev", key: "k"))
        #expect(try find(["HANSARD_URL": ""], file: file).url == "http://dev")
    }

    @Test func theKeyOfTheFileIsForItsServerAlone() {
        #expect(throws: CommandFailure.self) { try find(url: "http://elsewhere", file: file) }
        #expect(throws: CommandFailure.self) { try find(["HANSARD_URL": "http://elsewhere"], file: file) }
        #expect(throws: CommandFailure.self) { try find(file: nil) }
        #expect(throws: CommandFailure.self) { try find(file: DevEnvironmentFile(url: "http://dev")) }
    }

    @Test func theHandshakeIsEncoded() throws {
        let target = TranscribeTarget(url: "http://127.0.0.1:8080/", key: "hsk_k")
        let request = try target.request(model: "a b&c", language: "en-GB", interim: true)
        #expect(request.url.target == "/v1/listen?model=a%20b%26c&language=en-GB&interim_results=true")
        #expect(request.url.port == 8080)
        #expect(request.headers.map { "\($0.0): \($0.1)" } == ["Authorization: Token hsk_k"])
        for url in ["127.0.0.1:8080", "ftp://x", "http://"] {
            #expect(throws: CommandFailure.self) {
                try TranscribeTarget(url: url, key: "k").request(model: "m", language: "en", interim: false)
            }
        }
    }
}
