internal import CLibwebsockets
internal import Synchronization

/// Puts the pieces of one incoming message together, or passes them on.
struct IncomingMessage {
    /// What to do with a piece.
    enum Step: Equatable {
        /// Pass the piece on.
        case binary(isFirst: Bool)
        /// Nothing yet.
        case incomplete
        /// A text message is complete: the collected one, or the piece itself if `nil`.
        case text([UInt8]?)
        /// Close with 1007.
        case invalidText
        /// Close with 1009.
        case tooLarge
    }

    private var isInside = false
    private var count = 0
    private var collected: [UInt8] = []

    /// - Parameters:
    ///   - announced: what the frame's header says is still to come of this frame.
    ///   - limit: of the whole message, in bytes.
    mutating func pieceReceived(
        _ bytes: UnsafeRawBufferPointer,
        isBinary: Bool,
        isLast: Bool,
        announced: Int,
        limit: Int
    ) -> Step {
        let isFirst = !isInside
        count = (isFirst ? 0 : count) + bytes.count
        isInside = !isLast
        if count > limit || announced > limit - count { return .tooLarge }
        if isBinary { return .binary(isFirst: isFirst) }
        if isFirst && isLast { return isValidUTF8(bytes) ? .text(nil) : .invalidText }
        collected.append(contentsOf: bytes)
        guard isLast else { return .incomplete }
        let text = collected
        collected = []
        return text.withUnsafeBytes { isValidUTF8($0) } ? .text(text) : .invalidText
    }
}

/// When to ping and when to hang up.
struct KeepAlive {
    enum Action: Equatable {
        case ping, wait, hangUp
    }

    private var isAwaitingLife = false
    /// A ping waits for the queue to be sent.
    var pingIsOwed = false
    /// Why the connection was cut.
    private(set) var hasTimedOut = false

    /// Any byte of payload or a pong.
    mutating func somethingCame() { isAwaitingLife = false }

    /// After a ping the timer is set to the pong timeout, otherwise to the interval.
    mutating func timerFired(isReadingPaused: Bool) -> Action {
        if !isAwaitingLife {
            isAwaitingLife = true
            return .ping
        }
        if isReadingPaused { return .wait }  // Whatever came has not been read.
        hasTimedOut = true
        return .hangUp
    }
}

/// Whether the bytes are well-formed UTF-8 (RFC 3629): what `receivedText` promises.
func isValidUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !bytes.isEmpty else { return true }
    do {
        _ = try UTF8Span(validating: bytes.assumingMemoryBound(to: UInt8.self).span)
        return true
    } catch {
        return false
    }
}

/// RFC 6455 section 7.4 and the IANA registry: what may stand in a close frame.
func isSendableCloseCode(_ code: UInt16) -> Bool {
    switch code {
    case 1000...1003, 1007...1014, 3000...4999: true
    default: false
    }
}

/// The longest prefix of whole characters in 123 bytes, which is what a close frame has room for.
func cutToCloseReason(_ reason: String) -> String {
    if reason.utf8.count <= 123 { return reason }
    var end = reason.startIndex
    for index in reason.indices {
        let next = reason.index(after: index)
        if reason.utf8.distance(from: reason.startIndex, to: next) > 123 { break }
        end = next
    }
    return String(reason[..<end])
}

/// The kind of frame that the library keeps to itself (`LWS_WRITE_CLOSE` of its private headers), but writes all the same.
let closeFrameKind = lws_write_protocol(rawValue: 4)

/// Cuts a connection in the next turn: never at once, because the library may be in the middle of it.
func cutConnection(_ wsi: OpaquePointer) {
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC)
    // A timeout set outside of the library's own callbacks is looked at only after some event: this makes one.
    lws_cancel_service_pt(wsi)
}

/// One buffer per loop out of which messages are written, with room in front for a frame's header: so a send that need not be queued
/// costs no allocation, and the library never writes into memory that is not ours.
final class SendScratch {
    /// What `lws_write` needs before the payload.
    static let headroom = clws_pre()
    private static let largestKept = 256 << 10
    private var buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: headroom + 16 << 10)
    private var capacity = 16 << 10

    /// Where so many bytes can be put, behind the headroom; valid until the next call.
    func room(for count: Int) -> UnsafeMutablePointer<UInt8> {
        if count > capacity || (capacity > SendScratch.largestKept && count <= 16 << 10) {
            capacity = max(count, 16 << 10)
            buffer.deallocate()
            buffer = .allocate(capacity: SendScratch.headroom + capacity)
        }
        return buffer + SendScratch.headroom
    }

    /// The payload, copied behind the headroom; valid until the next call.
    func room(holding bytes: [UInt8]) -> UnsafeMutablePointer<UInt8> {
        let start = room(for: bytes.count)
        start.update(from: bytes, count: bytes.count)
        return start
    }

    deinit { buffer.deallocate() }
}

/// The counters that all loops of a server share.
final class TransportCounters: Sendable {
    let accepted = Atomic<Int>(0)
    let open = Atomic<Int>(0)
    let refusedByConnectionLimit = Atomic<Int>(0)
    let refusedByAddressLimit = Atomic<Int>(0)
    let badProxyHeaders = Atomic<Int>(0)
    let timedOut = Atomic<Int>(0)
    let requests = Atomic<Int>(0)
    let webSocketsAccepted = Atomic<Int>(0)
    let webSocketsRefused = Atomic<Int>(0)
    let bytesReceived = Atomic<Int>(0)
    let bytesSent = Atomic<Int>(0)

    var reading: WebServerCounters {
        var counters = WebServerCounters()
        counters.accepted = accepted.load(ordering: .relaxed)
        counters.open = open.load(ordering: .relaxed)
        counters.refusedByConnectionLimit = refusedByConnectionLimit.load(ordering: .relaxed)
        counters.refusedByAddressLimit = refusedByAddressLimit.load(ordering: .relaxed)
        counters.badProxyHeaders = badProxyHeaders.load(ordering: .relaxed)
        counters.timedOut = timedOut.load(ordering: .relaxed)
        counters.requests = requests.load(ordering: .relaxed)
        counters.webSocketsAccepted = webSocketsAccepted.load(ordering: .relaxed)
        counters.webSocketsRefused = webSocketsRefused.load(ordering: .relaxed)
        counters.bytesReceived = bytesReceived.load(ordering: .relaxed)
        counters.bytesSent = bytesSent.load(ordering: .relaxed)
        return counters
    }
}
