import EventLoops
import Foundation
import Web

/// One run of `hansard transcribe`, from the handshake to the server's close.
final class Transcription: Sendable {
    /// How long the server may take to complete an interrupted session.
    static let patience = Duration.seconds(5)

    private let source: AudioSource
    private let header: (pace: WAVPace, bytes: [UInt8])
    private let isFast: Bool
    private let signals: StopSignals
    private let write: @Sendable (String) -> Void
    private let printer: Locked<TranscriptPrinter>

    init(
        source: AudioSource,
        header: (pace: WAVPace, bytes: [UInt8]),
        isFast: Bool,
        style: TranscriptPrinter.Style,
        signals: StopSignals,
        write: @escaping @Sendable (String) -> Void = { StandardOutput.write($0) }
    ) {
        self.source = source
        self.header = header
        self.isFast = isFast
        self.signals = signals
        self.write = write
        printer = Locked(TranscriptPrinter(style: style))
    }

    /// Streams the recording and prints what comes.
    ///
    /// - Parameter loop: carries the connection; the caller's, before and after.
    /// - Throws: `CommandFailure` unless the session was completed.
    func run(_ request: WebSocketClientRequest, url: String, on loop: EventLoop) async throws {
        let connection: ListenConnection
        do {
            connection = try await ListenConnection.open(request, on: loop) { [self] message in
                write(printer.withLock { $0.received(message) })
            }
        } catch let error as WebSocketConnectError {
            throw TranscribeEnding.failure(error, url: url)
        }
        let interruption = Task { [signals] in
            await signals.wait()
            guard !Task.isCancelled else { return }
            connection.interrupt()
            try await Task.sleep(for: Self.patience)
            connection.giveUp()
        }
        let problem = await upload(to: connection)
        connection.closeStream()
        let closure = await connection.ended()
        interruption.cancel()
        write(printer.withLock { $0.ended() })
        if let problem { throw problem }
        let hasMetadata = printer.withLock { $0.hasMetadata }
        if let failure = TranscribeEnding.failure(
            closure,
            hasMetadata: hasMetadata,
            wasInterrupted: signals.hasStopped
        ) {
            throw failure
        }
    }

    /// Sends the recording until its end, the connection's end, or an interruption.
    ///
    /// - Returns: why the recording could not be read to its end.
    private func upload(to connection: ListenConnection) async -> CommandFailure? {
        var pacing = AudioPacing(pace: isFast ? nil : header.pace)
        var buffer = header.bytes
        let clock = ContinuousClock()
        let start = clock.now
        while !signals.hasStopped {
            let wanted = pacing.nextPieceBytes
            if buffer.count < wanted {
                do {
                    buffer += try await source.read(wanted - buffer.count)
                } catch {
                    return error as? CommandFailure ?? CommandFailure(message: "the audio cannot be read: \(error)")
                }
            }
            let piece = Array(buffer.prefix(wanted))
            buffer.removeFirst(piece.count)
            if piece.isEmpty { return nil }
            // Only cancellation throws, and nobody cancels.
            try? await clock.sleep(until: start + pacing.nextPieceDue)
            guard await connection.send(piece) else { return nil }
            pacing.sent(piece.count)
        }
        return nil
    }
}
