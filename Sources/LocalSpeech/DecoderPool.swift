import EventLoops

/// The decoders of this process, loaded at the start and lent to one stream at a time.
///
/// Each is 91 to 140 MB of memory and a thread of its own. Any thread may call the pool.
public final class DecoderPool: Sendable {
    /// How many decoders a pool can be asked for.
    public static let slotsMax = 256

    private struct State {
        var free: [Int]
        var streams: [Int: WeakStream] = [:]
        var isShutDown = false
    }

    private struct WeakStream: Sendable {
        weak let stream: RecognizerStream?
    }

    private let slots: [DecoderSlot]
    private let state: Locked<State>

    /// Loads the decoders one after another, half a second each.
    ///
    /// - Parameters:
    ///   - model: the model's files.
    ///   - slots: how many streams can run at once, 1 to `slotsMax`.
    ///   - onLoaded: called after each decoder with how many are ready.
    /// - Throws: `LocalSpeechError`, with `.modelMissing` if a file is not there.
    public init(
        model: SpeechModel = .english,
        slots count: Int,
        onLoaded: @Sendable (Int) -> Void = { _ in }
    ) async throws(LocalSpeechError) {
        guard (1...Self.slotsMax).contains(count) else {
            throw LocalSpeechError(.invalidUse, "\(count) decoders were asked for; 1 to \(Self.slotsMax) are possible")
        }
        try model.checkFiles()
        var loaded: [DecoderSlot] = []
        do {
            for index in 0..<count {
                let slot = DecoderSlot(index: index)
                loaded.append(slot)
                try await slot.load(model)
                onLoaded(index + 1)
            }
        } catch {
            for slot in loaded { await slot.unload() }
            throw error
        }
        slots = loaded
        state = Locked(State(free: Array((0..<count).reversed())))
    }

    deinit {
        for slot in slots { slot.unloadLater() }
    }

    /// How many decoders there are.
    public var capacity: Int { slots.count }

    /// How many could be reserved now.
    public var available: Int { state.withLock { $0.isShutDown ? 0 : $0.free.count } }

    /// Takes a decoder, without waiting; nil if all are taken or the pool has been shut down.
    public func reserve() -> DecoderReservation? {
        let index = state.withLock { $0.isShutDown ? nil : $0.free.popLast() }
        return index.map { DecoderReservation(pool: self, index: $0) }
    }

    /// Ends every stream with `.failed(.shutDown)`, frees the decoders and ends their threads.
    public func shutdown() async {
        let streams = state.withLock { state in
            state.isShutDown = true
            return state.streams.values.map(\.stream)
        }
        for stream in streams { stream?.interrupt(LocalSpeechError(.shutDown, "speech recognition is shutting down")) }
        for slot in slots { await slot.unload() }
    }

    fileprivate func start(
        _ index: Int,
        sampleRate: Int,
        deliver: @escaping @Sendable (RecognizerEvent) -> Void
    ) throws(LocalSpeechError) -> RecognizerStream {
        let stream: RecognizerStream? = state.withLock { state in
            if state.isShutDown { return nil }
            let stream = RecognizerStream(slot: slots[index], sampleRate: sampleRate, deliver: deliver) {
                self.release(index)
            }
            state.streams[index] = WeakStream(stream: stream)
            return stream
        }
        guard let stream else { throw LocalSpeechError(.shutDown, "speech recognition is shutting down") }
        return stream
    }

    fileprivate func release(_ index: Int) {
        state.withLock { state in
            state.streams[index] = nil
            state.free.append(index)
        }
    }
}

/// A decoder taken from a `DecoderPool`, for one stream. Given back when the stream ends, by `release()`, or when the
/// last reference goes and no stream was started.
public final class DecoderReservation: Sendable {
    private enum State {
        /// Exits: `started`, `released`.
        case reserved
        /// The stream gives the decoder back. Exit: `released`, which cancels it.
        case started(Reference)
        /// Final.
        case released
    }

    private struct Reference: Sendable {
        weak let stream: RecognizerStream?
    }

    private let pool: DecoderPool
    private let index: Int
    private let state = Locked(State.reserved)

    fileprivate init(pool: DecoderPool, index: Int) {
        self.pool = pool
        self.index = index
    }

    deinit {
        if case .reserved = state.withLock({ $0 }) { pool.release(index) }
    }

    /// Begins the stream; once per reservation.
    ///
    /// - Parameters:
    ///   - sampleRate: of the samples that will be sent, 8000 to 48000 Hz.
    ///   - deliver: called on the decoder's thread; it must not block, or the stream falls behind.
    /// - Throws: `LocalSpeechError` with `.invalidUse` for a rate out of range or a reservation already used, with
    ///   `.shutDown` after the pool's end.
    public func start(
        sampleRate: Int,
        deliver: @escaping @Sendable (RecognizerEvent) -> Void
    ) throws(LocalSpeechError) -> RecognizerStream {
        guard (8_000...48_000).contains(sampleRate) else {
            throw LocalSpeechError(
                .invalidUse,
                "a sample rate of \(sampleRate) Hz is not supported; supported: 8000 to 48000 Hz"
            )
        }
        return try state.withLock { (state) throws(LocalSpeechError) in
            guard case .reserved = state else {
                throw LocalSpeechError(.invalidUse, "a reservation starts one stream; reserve again")
            }
            let stream = try pool.start(index, sampleRate: sampleRate, deliver: deliver)
            state = .started(Reference(stream: stream))
            return stream
        }
    }

    /// Gives the decoder back; cancels the stream if one runs. Calling it again does nothing.
    public func release() {
        let last = state.withLock { state in
            defer { state = .released }
            return state
        }
        switch last {
        case .reserved: pool.release(index)
        case .started(let reference): reference.stream?.cancel()
        case .released: break
        }
    }
}
