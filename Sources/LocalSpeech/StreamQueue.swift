/// What waits between a stream's sender and its decoder. A decision, behind `RecognizerStream`'s lock.
struct StreamQueue {
    /// One thing for the decoder to do, in the order it was asked for.
    enum Command {
        case audio([Int16])
        case flush
        case finish
    }

    /// What the decoder's thread does next.
    enum Next {
        case run(Command)
        /// Nothing; the next thing that is asked for wakes the thread.
        case wait
        /// The stream was cancelled.
        case stop
        /// The stream was ended from outside; say so.
        case fail(LocalSpeechError)
    }

    private enum State {
        /// Takes samples. Exits: `finishing` by `finish()`, `stopping` by `cancel()` or an overrun.
        case open
        /// Works off the queue, takes nothing more. Exits: `over` when done, `stopping`.
        case finishing
        /// The queue is thrown away; the error, if any, is still to be told. Exit: `over`.
        case stopping(LocalSpeechError?)
        /// The decoder is free. Final.
        case over
    }

    /// Above it a send answers `.backpressure`.
    let markSamples: Int
    /// Above it the stream fails: the sender does not listen.
    let limitSamples: Int

    private var state = State.open
    private var commands: [Command] = []
    private var queuedSamples = 0
    private var isAwake = false
    private var owesCapacity = false

    init(sampleRate: Int) {
        markSamples = sampleRate * RecognizerStream.queueMarkSeconds
        limitSamples = sampleRate * RecognizerStream.queueLimitSeconds
    }

    var isOver: Bool {
        if case .over = state { true } else { false }
    }

    /// Whether events may still be delivered.
    var isHeard: Bool {
        switch state {
        case .open, .finishing: true
        case .stopping, .over: false
        }
    }

    /// - Returns: the answer for the sender, and whether the thread must be woken.
    mutating func samplesSent(_ samples: [Int16]) -> (answer: RecognizerSend, wakes: Bool) {
        guard case .open = state else { return (.dropped, false) }
        if samples.isEmpty { return (owesCapacity ? .backpressure : .sent, false) }
        guard queuedSamples + samples.count <= limitSamples else {
            let error = LocalSpeechError(
                .overrun,
                """
                more than \(RecognizerStream.queueLimitSeconds) s of audio are waiting for the decoder; \
                after .backpressure wait for .capacity
                """
            )
            return (.dropped, stopAsked(error))
        }
        queuedSamples += samples.count
        if queuedSamples > markSamples { owesCapacity = true }
        return (owesCapacity ? .backpressure : .sent, add(.audio(samples)))
    }

    /// - Returns: whether the thread must be woken.
    mutating func flushAsked() -> Bool {
        guard case .open = state else { return false }
        return add(.flush)
    }

    /// - Returns: whether the thread must be woken.
    mutating func finishAsked() -> Bool {
        guard case .open = state else { return false }
        state = .finishing
        return add(.finish)
    }

    /// - Parameter error: to be told to the owner; nil if the owner asked itself.
    /// - Returns: whether the thread must be woken.
    mutating func stopAsked(_ error: LocalSpeechError?) -> Bool {
        guard isHeard else { return false }
        state = .stopping(error)
        commands = []
        return wake()
    }

    /// The thread is ready for the next thing.
    mutating func next() -> Next {
        switch state {
        case .stopping(let error):
            state = .over
            return error.map(Next.fail) ?? .stop
        case .over:
            return .wait
        case .open, .finishing:
            guard !commands.isEmpty else {
                isAwake = false
                return .wait
            }
            return .run(commands.removeFirst())
        }
    }

    /// The thread has decoded `count` of the samples it took.
    ///
    /// - Returns: whether `.capacity` is due.
    mutating func samplesDecoded(_ count: Int) -> Bool {
        queuedSamples -= count
        guard owesCapacity, queuedSamples <= markSamples / 2, case .open = state else { return false }
        owesCapacity = false
        return true
    }

    /// The thread has done everything, or cannot go on.
    mutating func ended() { state = .over }

    private mutating func add(_ command: Command) -> Bool {
        commands.append(command)
        return wake()
    }

    private mutating func wake() -> Bool {
        if isAwake { return false }
        isAwake = true
        return true
    }
}
