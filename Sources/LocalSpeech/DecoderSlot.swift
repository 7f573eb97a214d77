import EventLoops

/// One decoder, its thread, and the session that has it.
///
/// `@unchecked Sendable`: `decoder` and `current` are touched on `thread` only.
final class DecoderSlot: @unchecked Sendable {
    let index: Int
    let thread: WorkerThread

    private var decoder: PocketSphinxDecoder?
    private var current: RecognizerSession?

    /// Serialises `ps_init`, which writes to static variables of sphinxbase; holds whether the log is silenced.
    private static let loading = Locked(false)

    init(index: Int) {
        self.index = index
        thread = WorkerThread(name: "speech-\(index)")
    }

    /// Loads the model on the slot's thread.
    func load(_ model: SpeechModel) async throws(LocalSpeechError) {
        do {
            try await thread.run { [self] in
                decoder = try Self.loading.withLock { isSilenced in
                    if !isSilenced { PocketSphinxDecoder.silenceLog() }
                    isSilenced = true
                    return try PocketSphinxDecoder(model: model)
                }
            }
        } catch let error as LocalSpeechError {
            throw error
        } catch {
            throw LocalSpeechError(.shutDown, "the thread of decoder \(index) has been stopped")
        }
    }

    /// The session of the stream that has this slot; begun by its first command. On `thread`.
    func session(sampleRate: Int, for stream: RecognizerStream) throws(LocalSpeechError) -> RecognizerSession {
        precondition(thread.isCurrent, "a decoder is used on its own thread")
        if let current { return current }
        guard let decoder else { throw LocalSpeechError(.shutDown, "decoder \(index) has been freed") }
        let session = try RecognizerSession(decoder: decoder, sampleRate: sampleRate) { [unowned stream] event in
            // The stream runs this session, so it is alive.
            stream.deliverIfHeard(event)
        }
        current = session
        return session
    }

    /// On `thread`.
    func closeSession() {
        precondition(thread.isCurrent, "a decoder is used on its own thread")
        current?.close()
        current = nil
    }

    /// Frees the decoder after everything given to the thread so far, and ends the thread.
    func unload() async {
        // Throws only if the thread was stopped before, by another call of this function that then frees the decoder.
        try? await thread.run { [self] in free() }
        thread.stop()
    }

    /// The same for a caller that cannot wait.
    func unloadLater() {
        thread.execute { [self] in free() }
        thread.stop()
    }

    private func free() {
        closeSession()
        decoder = nil
    }
}
