import Hansard
import Testing

@testable import HansardServer

/// Section 3 of the listen protocol: what clients say in text.
@Suite struct ClientMessageTests {
    private func read(_ text: String) -> ClientMessage { read(Array(text.utf8)) }
    private func read(_ bytes: [UInt8]) -> ClientMessage { bytes.withUnsafeBytes { ClientMessage(json: $0) } }

    @Test(arguments: [
        (#"{"type": "KeepAlive"}"#, ClientMessage.keepAlive), (#"{"type":"Finalize"}"#, .finalize(channel: nil)),
        (#"{"type":"Finalize","channel":0}"#, .finalize(channel: 0)),
        (#"{"type":"Finalize","channel":null}"#, .finalize(channel: nil)),
        (#" {"channel":3,"type":"Finalize","more":[1,{"a":2}]} "#, .finalize(channel: 3)),
        (#"{"type":"CloseStream"}"#, .closeStream), (#"{"type":"Close\u0053tream"}"#, .closeStream),
        (#"{"type":"KeepAlive","x":"\ud83d\ude00"}"#, .keepAlive),
    ])
    func knownMessagesAreRead(_ text: String, _ expected: ClientMessage) {
        #expect(read(text) == expected)
    }

    @Test(arguments: [
        "", " ", "{}", "[]", "null", "1", "\"KeepAlive\"", "{", #"{"type"}"#, #"{"type":}"#, #"{"type":null}"#,
        #"{"type":1}"#, #"{"type":"keepalive"}"#, #"{"type":"KeepAlive "}"#, #"{"type":"Configure"}"#,
        #"{"type":"Finalize","channel":"0"}"#, #"{"type":"Finalize","channel":0.5}"#,
        #"{"type":"Finalize","channel":99999999999999999999}"#, #"{"type":"KeepAlive"}x"#, "{\"type\":\"KeepAlive\"}\0",
        "hello",
    ])
    func everythingElseIsUnknown(_ text: String) {
        #expect(read(text) == .unknown)
    }

    @Test func aMessageAboveTheLimitIsNotRead() {
        func padded(to count: Int) -> String {
            let frame = #"{"type":"KeepAlive","x":""}"#
            return #"{"type":"KeepAlive","x":""# + String(repeating: "a", count: count - frame.utf8.count) + #""}"#
        }
        #expect(read(padded(to: ClientMessage.maximumTextBytes)) == .keepAlive)
        #expect(read(padded(to: ClientMessage.maximumTextBytes + 1)) == .unknown)
    }

    @Test func deepNestingDoesNoHarm() {
        let deep = String(repeating: "[", count: 30_000)
        #expect(read(#"{"type":"KeepAlive","x":"# + deep) == .unknown)
    }

    @Test(arguments: 0..<10) func anyBytesAreRead(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let good = Array(#"{"type":"Finalize","channel":1}"#.utf8)
        for _ in 0..<300 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = bytes.indices.randomElement(using: &random) ?? 0
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                }
            }
            switch read(bytes) {
            case .unknown, .finalize: break
            case let other: Issue.record("\(bytes) became \(other)")
            }
        }
    }
}
