import AWS
import EventLoops
import Foundation
import HTTPClient
import Hansard

@testable import HansardServer

/// Sends requests to DynamoDB, and does to each what the test says.
final class FaultyTransport: HTTPTransport {
    /// What becomes of a request.
    enum Fate: Sendable, Equatable {
        case works
        /// Nothing of it leaves.
        case notSent
        /// It is done, and the answer is lost.
        case answerLost
        /// Nobody answers in time; it arrives when `deliverLate` says so.
        case late
        /// It does not arrive, and this is answered: a status, DynamoDB's code, and by how many seconds its clock differs.
        case answers(Int, String, skew: TimeInterval? = nil)
        /// It does not arrive, and the answer is that the transaction was called off, for this reason of its last write.
        case cancels(String)
    }

    private struct State {
        var fate: @Sendable (TransferRequest, Int) -> Fate = { _, _ in .works }
        var beforeSending: (@Sendable (String, Int) async throws -> Void)?
        var sent: [TransferRequest] = []
        var late: [TransferRequest] = []
    }

    private let real: any HTTPTransport
    private let state = Locked(State())

    init(_ real: any HTTPTransport) { self.real = real }

    var sent: [TransferRequest] { state.withLock(\.sent) }
    var operations: [String] { sent.map(\.dynamoDBOperation) }

    func forget() { state.withLock { $0.sent = [] } }

    /// Decides from now on by operation and by the number of requests before, from 0 on.
    func set(_ fate: @escaping @Sendable (_ operation: String, _ number: Int) -> Fate) {
        forget()
        state.withLock { $0.fate = { request, number in fate(request.dynamoDBOperation, number) } }
    }

    /// Decides from now on by what is sent.
    func setByRequest(_ fate: @escaping @Sendable (TransferRequest) -> Fate) {
        forget()
        state.withLock { $0.fate = { request, _ in fate(request) } }
    }

    /// Runs before a request is sent, with its operation and number.
    var beforeSending: (@Sendable (String, Int) async throws -> Void)? {
        get { state.withLock(\.beforeSending) }
        set { state.withLock { $0.beforeSending = newValue } }
    }

    /// Requests end like this from here on, one after the other, and then work.
    func script(_ script: [Fate]) { set { script.indices.contains($1) ? script[$1] : .works } }

    func send(_ request: TransferRequest) async throws -> TransferResponse {
        let number = state.withLock { state in
            state.sent.append(request)
            return state.sent.count - 1
        }
        try await beforeSending?(request.dynamoDBOperation, number)
        switch state.withLock(\.fate)(request, number) {
        case .works: return try await real.send(request)
        case .notSent: throw CurlError(code: 7, message: "no connection", wasNotSent: true)
        case .answerLost:
            _ = try await real.send(request)
            throw CurlError(code: 28, message: "time ran out", wasNotSent: false)
        case .late:
            state.withLock { $0.late.append(request) }
            throw CurlError(code: 28, message: "time ran out", wasNotSent: false)
        case .answers(let status, let code, let skew): return Self.answer(status, code, skew: skew)
        case .cancels(let reason):
            let reasons = Array(repeating: "None", count: try Self.writes(in: request) - 1) + [reason]
            let list = reasons.map { #"{"Code":"\#($0)"}"# }.joined(separator: ",")
            return Self.answer(400, "TransactionCanceledException", more: #","CancellationReasons":[\#(list)]"#)
        }
    }

    /// Lets what came too late arrive now. Its answers reach nobody.
    func deliverLate() async throws {
        let late = state.withLock { state in
            defer { state.late = [] }
            return state.late
        }
        for request in late { _ = try await real.send(request) }
    }

    private static func writes(in request: TransferRequest) throws -> Int {
        let body = try JSONSerialization.jsonObject(with: Data(request.body)) as? [String: Any]
        return (body?["TransactItems"] as? [Any])?.count ?? 1
    }

    private static func answer(
        _ status: Int, _ code: String, skew: TimeInterval? = nil, more: String = ""
    ) -> TransferResponse {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        let body = #"{"__type":"com.amazonaws.dynamodb.v20120810#\#(code)","message":"as the test says"\#(more)}"#
        let headers = skew.map { [TransferHeader("Date", formatter.string(from: Date.now + $0))] } ?? []
        return TransferResponse(status: status, headers: headers, body: Array(body.utf8))
    }
}

extension TransferRequest {
    /// `TransactWriteItems` and so on.
    var dynamoDBOperation: String {
        header("X-Amz-Target")?.split(separator: ".").last.map(String.init) ?? ""
    }
}
