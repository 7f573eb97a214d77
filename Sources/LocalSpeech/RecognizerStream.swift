import EventLoops

/// One stream of speech on a decoder of its own. Any thread may call it, an event loop too: nothing here waits.
///
/// Events come on the decoder's thread, in order. If the last reference goes while the stream runs, it is cancelled.
public final class RecognizerStream: Sendable {
    /// Audio waiting for the decoder above which `send` answers `.backpressure`, in seconds.
    public static let queueMarkSeconds = 5
    /// Audio waiting for the decoder above which the stream fails with `.overrun`, in seconds. Longer arrays than this
    /// cannot be sent at once.
    public static let queueLimitSeconds = 60
    /// How much is decoded between two looks at whether the stream was cancelled: a tenth of a second of audio.
    private static let slicesPerSecond = 10

    private let slot: DecoderSlot
    private let sampleRate: Int
    private let deliver: @Sendable (RecognizerEvent) -> Void
    private let onEnd: @Sendable () -> Void
    private let queue: Locked<StreamQueue>

    /// - Parameters:
    ///   - onEnd: called once, when the decoder is free again.
    init(
        slot: DecoderSlot,
        sampleRate: Int,
        deliver: @escaping @Sendable (RecognizerEvent) -> Void,
        onEnd: @escaping @Sendable () -> Void
    ) {
        self.slot = slot
        self.sampleRate = sampleRate
        self.deliver = deliver
        self.onEnd = onEnd
        queue = Locked(StreamQueue(sampleRate: sampleRate))
    }

    deinit {
        if queue.withLock({ $0.isOver }) { return }
        slot.thread.execute { [slot, onEnd] in
            slot.closeSession()
            onEnd()
        }
    }

    /// Queues mono samples at the stream's rate. The array is shared with the decoder's thread, not copied.
    public func send(_ samples: [Int16]) -> RecognizerSend {
        let (answer, wakes) = queue.withLock { $0.samplesSent(samples) }
        if wakes { wake() }
        return answer
    }

    /// Asks for finals of everything sent so far, then `.flushed`; the stream goes on. In silence there is no final.
    public func flush() {
        if queue.withLock({ $0.flushAsked() }) { wake() }
    }

    /// Asks for finals of everything sent so far, then `.ended`. Later samples are dropped.
    public func finish() {
        if queue.withLock({ $0.finishAsked() }) { wake() }
    }

    /// Throws away what waits and frees the decoder, after the 0.1 s of audio it is at. No event is delivered that has
    /// not begun to be delivered.
    public func cancel() { interrupt(nil) }

    /// Ends the stream; with an error the owner is told `.failed`.
    func interrupt(_ error: LocalSpeechError?) {
        if queue.withLock({ $0.stopAsked(error) }) { wake() }
    }

    // MARK: On the decoder's thread

    private func wake() { slot.thread.execute { self.work() } }

    private func work() {
        while true {
            switch queue.withLock({ $0.next() }) {
            case .wait: return
            case .stop: return end(nil)
            case .fail(let error): return end(.failed(error))
            case .run(let command):
                do {
                    try run(command)
                } catch {
                    // Who cancelled meanwhile hears nothing more.
                    return end(queue.withLock { $0.isHeard } ? .failed(error) : nil)
                }
            }
        }
    }

    private func run(_ command: StreamQueue.Command) throws(LocalSpeechError) {
        let session = try slot.session(sampleRate: sampleRate, for: self)
        switch command {
        case .audio(let samples): try decode(samples, in: session)
        case .flush: try session.flush()
        case .finish:
            try session.finish()
            if queue.withLock({ $0.isHeard }) { end(.ended) }
        }
    }

    private func decode(_ samples: [Int16], in session: RecognizerSession) throws(LocalSpeechError) {
        let slice = sampleRate / Self.slicesPerSecond
        for start in stride(from: 0, to: samples.count, by: slice) {
            let end = min(start + slice, samples.count)
            try samples.withUnsafeBufferPointer { (whole) throws(LocalSpeechError) in
                try session.decode(UnsafeBufferPointer(rebasing: whole[start..<end]))
            }
            let (hasCapacity, isHeard) = queue.withLock { ($0.samplesDecoded(end - start), $0.isHeard) }
            if !isHeard { return }
            if hasCapacity { deliver(.capacity) }
        }
    }

    /// Passes an event of the session on, unless the stream was cancelled meanwhile.
    func deliverIfHeard(_ event: RecognizerEvent) {
        if queue.withLock({ $0.isHeard }) { deliver(event) }
    }

    /// The decoder is given back before the owner hears of the end, so that it can be reserved again at once.
    private func end(_ event: RecognizerEvent?) {
        queue.withLock { $0.ended() }
        slot.closeSession()
        onEnd()
        if let event { deliver(event) }
    }
}
