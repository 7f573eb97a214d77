import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

/// Answers requests from a list, and keeps what was sent.
final class ScriptedTransport: HTTPTransport {
    typealias Answer = @Sendable (TransferRequest) throws -> TransferResponse

    private struct State {
        var answers: [Answer]
        var sent: [TransferRequest] = []
    }

    private let state: Locked<State>

    init(_ answers: [Answer]) { state = Locked(State(answers: answers)) }

    /// The same answer for ever.
    convenience init(always answer: @escaping Answer) { self.init(Array(repeating: answer, count: 10_000)) }

    var sent: [TransferRequest] { state.withLock { $0.sent } }
    var unused: Int { state.withLock { $0.answers.count } }

    func send(_ request: TransferRequest) async throws -> TransferResponse {
        let answer: Answer? = state.withLock { state in
            state.sent.append(request)
            return state.answers.isEmpty ? nil : state.answers.removeFirst()
        }
        guard let answer else {
            Issue.record("a request that was not expected: \(request.method) \(request.url)")
            throw CurlError(code: 7, message: "the script has ended", wasNotSent: true)
        }
        return try answer(request)
    }

    /// An answer with a body.
    static func answer(_ status: Int, _ body: String = "", headers: [TransferHeader] = []) -> Answer {
        { _ in TransferResponse(status: status, headers: headers, body: Array(body.utf8)) }
    }

    /// An error as DynamoDB says it.
    static func error(_ status: Int, _ code: String, date: Date? = nil) -> Answer {
        let headers = date.map { [TransferHeader("Date", httpDate($0))] } ?? []
        return answer(
            status, #"{"__type":"com.amazonaws.dynamodb.v20120810#\#(code)","message":"m"}"#, headers: headers)
    }

    /// No answer.
    static func failure(_ code: Int32, wasNotSent: Bool = false) -> Answer {
        { _ in throw CurlError(code: code, message: "curl says", wasNotSent: wasNotSent) }
    }

    static func httpDate(_ date: Date) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return formatter.string(from: date)
    }
}

/// A clock that is set by hand.
final class ManualClock: Sendable {
    private let time: Locked<Date>
    init(_ start: Double = 1_440_938_160) { time = Locked(Date(timeIntervalSince1970: start)) }
    var now: Date { time.withLock { $0 } }
    func advance(_ seconds: TimeInterval) { time.withLock { $0 += seconds } }
}

/// Credentials from a list of results; the last one is repeated.
final class ScriptedSource: CredentialsSource {
    let name: String
    private let state: Locked<(results: [Result<AWSCredentials, CredentialsFailure>], loads: Int)>
    /// Waited for before a result is given.
    private let gate: (@Sendable () async -> Void)?

    init(
        named name: String = "script", _ results: [Result<AWSCredentials, CredentialsFailure>],
        gate: (@Sendable () async -> Void)? = nil
    ) {
        self.name = name
        state = Locked((results, 0))
        self.gate = gate
    }

    var loads: Int { state.withLock { $0.loads } }

    func load() async throws -> AWSCredentials {
        let result = state.withLock { state in
            state.loads += 1
            return state.results.count > 1 ? state.results.removeFirst() : state.results[0]
        }
        await gate?()
        return try result.get()
    }
}

extension AWSCredentials {
    /// Told apart by number.
    static func number(_ number: Int, until expiration: Date? = nil) -> AWSCredentials {
        AWSCredentials(
            accessKeyID: "AKID\(number)", secretAccessKey: "sesame\(number)", sessionToken: "open\(number)",
            expiration: expiration)
    }
}
