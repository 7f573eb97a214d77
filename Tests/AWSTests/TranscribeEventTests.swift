import Foundation
import Testing

@testable import AWS

@Suite struct TranscribeEventTests {
    private func event(
        _ payload: String,
        headers: [(String, String)] = [
            (":message-type", "event"), (":event-type", "TranscriptEvent"), (":content-type", "application/json"),
        ]
    ) throws -> TranscribeEvent {
        let message = EventStreamMessage(
            headers: headers.map { .init($0.0, .string($0.1)) }, payload: Array(payload.utf8))
        return try TranscribeEvent(decoding: message.encoded())
    }

    private func results(_ payload: String) throws -> [TranscribeResult] {
        guard case .transcript(let results) = try event(payload) else {
            Issue.record("no transcript")
            return []
        }
        return results
    }

    private func exception(_ name: String, _ payload: String, more: [(String, String)] = []) throws -> TranscribeEvent {
        try event(payload, headers: [(":exception-type", name), (":message-type", "exception")] + more)
    }

    // MARK: Transcripts

    @Test func everyField() throws {
        let payload = """
            {"Transcript":{"Results":[{"ResultId":"r-1","StartTime":1.65,"EndTime":4.165,"IsPartial":true,
            "ChannelId":"ch_0","LanguageCode":"en-US","LanguageIdentification":[{"LanguageCode":"en-US","Score":0.97}],
            "Alternatives":[{"Transcript":"Welcome, \\u00c4nne.","Items":[
            {"Type":"pronunciation","Content":"Welcome","StartTime":1.65,"EndTime":2.4225,"Confidence":0.97,
            "Stable":true,"Speaker":"0","VocabularyFilterMatch":true},
            {"Type":"punctuation","Content":",","StartTime":2.4225,"EndTime":2.4225,"VocabularyFilterMatch":false}],
            "Entities":[{"StartTime":2.5,"EndTime":3,"Category":"PII","Type":"NAME","Content":"\\u00c4nne",
            "Confidence":0.9}]}]}]}}
            """
        var word = TranscribeItem()
        word.content = "Welcome"
        word.startTime = 1.65
        word.endTime = 2.4225
        word.confidence = 0.97
        word.isStable = true
        word.speaker = "0"
        word.matchesVocabularyFilter = true
        var comma = TranscribeItem()
        comma.kind = .punctuation
        comma.content = ","
        comma.startTime = 2.4225
        comma.endTime = 2.4225
        var entity = TranscribeEntity()
        entity.category = "PII"
        entity.type = "NAME"
        entity.content = "Änne"
        entity.startTime = 2.5
        entity.endTime = 3
        entity.confidence = 0.9
        var alternative = TranscribeAlternative()
        alternative.transcript = "Welcome, Änne."
        alternative.items = [word, comma]
        alternative.entities = [entity]
        var language = TranscribeLanguageScore()
        language.languageCode = "en-US"
        language.score = 0.97
        var result = TranscribeResult()
        result.resultID = "r-1"
        result.startTime = 1.65
        result.endTime = 4.165
        result.isPartial = true
        result.channelID = "ch_0"
        result.languageCode = "en-US"
        result.languageIdentification = [language]
        result.alternatives = [alternative]
        #expect(try results(payload) == [result])
        // Older services call it bytes.
        let octets = [
            (":message-type", "event"), (":event-type", "TranscriptEvent"),
            (":content-type", "application/octet-stream"),
        ]
        #expect(try event(payload, headers: octets) == .transcript([result]))
        #expect(try event(payload, headers: Array(octets.prefix(2))) == .transcript([result]))
    }

    @Test(arguments: [
        "{}", "[]", "null", "7", #"{"Transcript":null}"#, #"{"Transcript":{}}"#, #"{"Transcript":[]}"#,
        #"{"Transcript":{"Results":null}}"#, #"{"Transcript":{"Results":[]}}"#, #"{"Transcript":{"Results":{}}}"#,
        #"{"Transcript":{"Results":[null,1,"x",[]]}}"#, #"{"Other":{"Results":[{}]}}"#,
    ])
    func nothingIsATranscriptWithoutResults(payload: String) throws {
        #expect(try results(payload) == [])
    }

    @Test func whatIsMissingOrOddIsLeftOut() throws {
        #expect(try results(#"{"Transcript":{"Results":[{}]}}"#) == [TranscribeResult()])
        let odd = #"""
            {"New":[{"x":[]}],"Transcript":{"New":1,"Results":[{"New":{"a":[1]},"ResultId":7,"StartTime":"1","EndTime":null,
            "IsPartial":"yes","ChannelId":[],"Alternatives":[{"Transcript":null,"Items":[{},{"Content":""},
            {"Content":"a","Type":"laughter","StartTime":true,"Confidence":"x","Speaker":3,"Stable":0},7],
            "Entities":null,"New":null}]}]}}
            """#
        let found = try results(odd)
        #expect(found.count == 1)
        let items = found.first?.alternatives.first?.items ?? []
        var item = TranscribeItem()
        item.content = "a"
        #expect(items == [item])
        var result = TranscribeResult()
        result.alternatives = found.first?.alternatives ?? []
        #expect(found == [result])
    }

    @Test(arguments: [
        "1e308", "-1e308", "1e309", "-5", "123456789012345678901234567890", "0.1e-400", "-0.0", "1e99999999",
    ])
    func outlandishNumbersBecomePlausible(number: String) throws {
        let payload = """
            {"Transcript":{"Results":[{"StartTime":\(number),"EndTime":\(number),"LanguageIdentification":[{"Score":\(number)}],
            "Alternatives":[{"Items":[{"Content":"a","StartTime":\(number),"EndTime":\(number),"Confidence":\(number)}],
            "Entities":[{"StartTime":\(number),"EndTime":\(number),"Confidence":\(number)}]}]}]}}
            """
        let result = try #require(try results(payload).first)
        let item = try #require(result.alternatives.first?.items.first)
        let entity = try #require(result.alternatives.first?.entities.first)
        let times = [result.startTime, result.endTime, item.startTime, item.endTime, entity.startTime, entity.endTime]
        for time in times.compactMap(\.self) {
            #expect((0...TranscribeResult.longestTime).contains(time))
            // As who measures in smaller units would.
            #expect(Int(time * 1_000_000_000) >= 0)
        }
        for share in [item.confidence, entity.confidence, result.languageIdentification.first?.score].compactMap(\.self)
        {
            #expect((0...1).contains(share))
        }
    }

    @Test func brokenTranscriptsAreErrors() throws {
        for payload in ["", "{", "no", #"{"Transcript":{"Results":[{"StartTime":01}]}}"#, "{}{}"] {
            let error = #expect(throws: EventStreamError.self) { try event(payload) }
            #expect(error?.description.contains("a transcript that is no JSON: ") == true)
        }
        let large = String(repeating: " ", count: TranscribeEvent.maximumTranscriptBytes)
        #expect(try results("{}" + large.dropLast(2)) == [])
        #expect(throws: EventStreamError.self) { try event("{}" + large) }
    }

    // MARK: Others

    @Test func exceptionsOfEveryKind() throws {
        func expect(_ payload: String, _ message: String, _ line: Int = #line) throws {
            let expected = TranscribeException(name: "BadRequestException", message: message)
            #expect(try exception("BadRequestException", payload) == .exception(expected), "line \(line)")
        }
        try expect(#"{"Message":"no audio"}"#, "no audio")
        try expect(#"{"message":"no audio","x":[1]}"#, "no audio")
        try expect(#"{"Message":null}"#, "")
        try expect("{}", "")
        try expect("", "")
        try expect("plain words", "plain words")
        try expect(#"{"Message":"cut"#, #"{"Message":"cut"#)
        try expect("[1]", "[1]")
        try expect(String(repeating: "x", count: 5_000), String(repeating: "x", count: 1_024))
        try expect("{\"Message\":\"\(String(repeating: "y", count: 5_000))\"}", String(repeating: "y", count: 1_024))
        #expect(
            try exception("X", "", more: [(":content-type", "application/json")])
                == .exception(TranscribeException(name: "X", message: "")))
        #expect(
            try event("", headers: [(":message-type", "exception")])
                == .exception(TranscribeException(name: "", message: "")))
        #expect(
            try event("", headers: [(":message-type", "error"), (":error-code", "C"), (":error-message", "m")])
                == .exception(TranscribeException(name: "C", message: "m")))
        // Bytes that are no text.
        let headers: [EventStreamMessage.Header] = [
            .init(":message-type", .string("exception")), .init(":exception-type", .int8(1)),
        ]
        let bytes = try EventStreamMessage(headers: headers, payload: [0xFF, 0xFE]).encoded()
        #expect(
            try TranscribeEvent(decoding: bytes)
                == .exception(TranscribeException(name: "", message: "\u{FFFD}\u{FFFD}")))
        #expect("\(TranscribeException(name: "A", message: "b"))" == "A: b")
        #expect("\(TranscribeException(name: "", message: ""))" == "an exception without name")
    }

    @Test func unknownEventsHaveNames() throws {
        #expect(
            try event("?", headers: [(":message-type", "event"), (":event-type", "UtteranceEvent")])
                == .unknown("UtteranceEvent"))
        #expect(try event("{}", headers: [(":message-type", "event")]) == .unknown(""))
        #expect(try event("{}", headers: [(":message-type", "news")]) == .unknown("news"))
        #expect(try event("{}", headers: []) == .unknown(""))
    }

    @Test func brokenFramesAreErrors() throws {
        var bytes = try EventStreamMessage(payload: [1]).encoded()
        bytes[13] ^= 1
        #expect(throws: EventStreamError.self) { try TranscribeEvent(decoding: bytes) }
        #expect(throws: EventStreamError(.tooShort(0), at: 0)) { try TranscribeEvent(decoding: []) }
    }

    @Test func mutatedTranscriptsDoNoHarm() throws {
        var random = SeededGenerator(seed: 9)
        let seed = #"""
            {"Transcript":{"Results":[{"ResultId":"r","StartTime":1.65,"EndTime":4.1,"IsPartial":false,"Alternatives":[
            {"Transcript":"a \ud83c\udf99","Items":[{"Type":"pronunciation","Content":"a","StartTime":1e1}]}]}]}}
            """#
        var read = 0
        for _ in 0..<20_000 {
            let text = random.mutated(Array(seed.utf8))
            guard let found = text.withUnsafeBytes({ try? TranscribeResult.results(in: $0) }) else { continue }
            read += 1
            for result in found where !(0...TranscribeResult.longestTime).contains(result.startTime) {
                Issue.record("\(result.startTime) from \(String(decoding: text, as: UTF8.self))")
            }
        }
        #expect(read > 1_000)
    }
}

@Suite struct TranscribeFailureTests {
    @Test(arguments: [
        (
            "BadRequestException", "Your request timed out because no new audio was received for 15 seconds.",
            TranscribeFailure.idle
        ),
        ("BadRequestException", "A language code must be given", .badRequest),
        ("BadRequestException", "", .badRequest),
        (
            "BadRequestException", "Signature expired: 20201123T084949Z is now earlier than 20201123T084949Z (...)",
            .expired
        ),
        ("SerializationException", "x", .badRequest), ("ValidationException", "", .badRequest),
        ("LimitExceededException", "You have reached your limit of concurrent streams, 5. Try again later.", .limit),
        ("ThrottlingException", "", .limit), ("TooManyRequestsException", "", .limit),
        ("InternalFailureException", "", .service), ("InternalFailure", "", .service),
        ("ServiceUnavailableException", "", .service), ("NewException", "", .service), ("", "", .service),
        ("ConflictException", "A new stream started with the same session ID.", .conflict),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", .refused),
        ("AccessDeniedException", "", .refused), ("ExpiredTokenException", "", .refused),
        ("InvalidSignatureException", "The request signature we calculated does not match", .refused),
        ("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", .expired),
        ("InvalidSignatureException", "Signature not yet current: 1 is still later than 2", .expired),
        ("RequestExpired", "", .expired), ("com.amazonaws.transcribe#ConflictException", "", .conflict),
        ("ConflictException:http://internal.amazon.com/", "", .conflict), (":", "", .service), ("#", "", .service),
    ])
    func kindsOfExceptions(name: String, message: String, failure: TranscribeFailure) {
        #expect(TranscribeException(name: name, message: message).failure == failure)
    }

    @Test(
        arguments: [
            (400, nil, TranscribeFailure.badRequest), (403, nil, .refused), (401, nil, .refused),
            (404, nil, .badRequest),
            (408, nil, .service), (409, nil, .conflict), (429, nil, .limit), (500, nil, .service), (503, "", .service),
            (200, nil, .service), (302, nil, .service), (403, "UnrecognizedClientException", .refused),
            (400, "LimitExceededException:http://x", .limit), (403, "Mystery", .refused),
            (503, "LimitExceededException", .limit),
            (400, "ExpiredTokenException", .refused), (500, "Mystery", .service), (0, nil, .service),
        ] as [(Int, String?, TranscribeFailure)])
    func kindsOfRefusedHandshakes(status: Int, type: String?, failure: TranscribeFailure) {
        #expect(TranscribeFailure(status: status, errorType: type) == failure)
    }

    @Test func whatMayGoBetter() {
        #expect(TranscribeFailure.allCases.filter { !$0.isTransient } == [.badRequest, .refused])
        let late = TranscribeFailure(status: 403, message: "Signature expired: 1 is now earlier than 2")
        #expect(late == .expired)
    }
}
