import Hansard
import Web

/// A service elsewhere that transcribes what it is sent over a WebSocket.
protocol UpstreamService: Sendable {
    /// What it is and can do.
    var description: EngineDescription { get }

    /// The most channels that one stream listens to apart; more have a stream each.
    var channelsPerStream: Int { get }

    /// How streams for this request are relayed.
    func policy(for request: EngineRequest) -> RelayPolicy

    /// How long `call` may take.
    var callTimeout: Duration { get }

    /// Where the next stream is to be opened, and what is spoken there. Asked anew for each stream, since addresses are
    /// signed; it may wait for credentials, and is given up after `callTimeout`.
    ///
    /// - Throws: `.invalid` or `.forbidden` if there is no use in trying again.
    func call(for request: EngineRequest) async throws(HansardError) -> UpstreamCall

    /// What it means that no stream could be opened.
    func end(after error: WebSocketConnectError) -> UpstreamEnd

    /// What it means that the connection ended, if the service had not said why before.
    func end(after closure: WebSocketClosure) -> UpstreamEnd
}

extension UpstreamService {
    /// Time for a process on the same machine that gives credentials to be asked again, and not much more: whoever renews
    /// them does so ahead of their end, and what has been asked for serves the next attempt.
    var callTimeout: Duration { .seconds(10) }
}

extension WebLimits {
    /// Of a connection to a service: what may wait to be sent is some seconds of audio, and one that is silent is noticed
    /// soon.
    static var upstream: WebLimits {
        var limits = WebLimits()
        limits.sendQueueBytes = 1 << 20
        (limits.pingInterval, limits.pongTimeout) = (.seconds(5), .seconds(10))
        return limits
    }
}

/// One stream, about to be opened.
struct UpstreamCall: Sendable {
    /// How long it may be tried.
    static let connectTimeout = Duration.seconds(5)

    var request: WebSocketClientRequest
    var dialect: any UpstreamDialect
}

/// What is spoken on one stream: bytes for what a relay wants to say, and results from what comes back. It belongs to
/// one event loop.
protocol UpstreamDialect: Sendable {
    /// Appends the binary message that carries audio: 16-bit samples, little-endian.
    mutating func append(audio: UnsafeRawBufferPointer, to buffer: inout [UInt8])

    /// The message for anything else.
    mutating func message(_ control: UpstreamControl) -> UpstreamMessage

    /// What a message from the service says.
    func read(binary message: UnsafeRawBufferPointer) -> UpstreamSaying
    /// What a message from the service says.
    func read(text message: UnsafeRawBufferPointer) -> UpstreamSaying
}

/// What a relay says besides audio.
enum UpstreamControl: Equatable {
    case askForFinals(channel: Int)
    case keepAlive
    case endStream
}

/// A WebSocket message.
enum UpstreamMessage: Equatable {
    case binary([UInt8])
    case text(String)
}

/// What the service says.
enum UpstreamSaying: Equatable {
    case results([UpstreamResult])
    /// Why it ends the stream, or why what it sent makes no sense.
    case end(UpstreamEnd)
    /// Nothing that matters.
    case nothing
}
