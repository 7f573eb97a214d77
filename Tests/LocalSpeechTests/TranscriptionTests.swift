import LocalSpeech
import Testing

/// Tests with real decoders: three, loaded once.
@Suite(.serialized, .timeLimit(.minutes(10))) struct TranscriptionTests {
    private static let loading = Task { try await DecoderPool(slots: 3) }

    private func pool() async throws -> DecoderPool { try await Self.loading.value }

    private func reserve(_ pool: DecoderPool) throws -> DecoderReservation { try #require(pool.reserve()) }

    /// Sends everything in pieces, honouring back-pressure, and waits for the end.
    private func transcribe(
        _ samples: [Int16],
        piece: Int = 1_600,
        sampleRate: Int = 16_000,
        on pool: DecoderPool
    ) async throws -> EventLog {
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: sampleRate) { log.add($0) }
        var capacities = 0
        for start in stride(from: 0, to: samples.count, by: piece) {
            if stream.send(Array(samples[start..<min(start + piece, samples.count)])) == .backpressure {
                capacities += 1
                let wanted = capacities
                await log.wait { events in events.count { $0 == .capacity } >= wanted }
            }
        }
        stream.finish()
        await log.waitForEnd()
        return log
    }

    @Test func goForwardTenMeters() async throws {
        let log = try await transcribe(SampleRecording.named("goforward.wav").samples, on: pool())
        #expect(log.texts == ["go forward ten meters"])
        #expect(log.events.last == .ended)
        let final = try #require(log.finals.first)
        #expect(final.words.map(\.text) == ["go", "forward", "ten", "meters"])
        #expect(final.words.allSatisfy { ($0.confidence ?? 0) > 0.25 && ($0.confidence ?? 2) < 1 })
        #expect((final.confidence ?? 0) > 0.25)
        #expect(final.through <= .seconds(2.787))
        // Where the recording's energy rises and falls for good: 0.48 s and 2.15 s.
        let energy = energyRange(try SampleRecording.named("goforward.wav").samples)
        #expect(abs((final.words[0].start - energy.start) / .seconds(1)) <= 0.2, "\(final.words[0]), \(energy)")
        #expect(abs((final.words[3].end - energy.end) / .seconds(1)) <= 0.2, "\(final.words[3]), \(energy)")
    }

    @Test func wordTimesAreThoseOfTheAudio() async throws {
        // Half a second of the recording's own beginning in front moves every word by as much, within a frame or two.
        let samples = try SampleRecording.named("librivox-0880.wav").samples
        let plain = try await transcribe(samples, on: pool())
        let words = try #require(plain.finals.first).words
        let energy = energyRange(samples)
        #expect(abs((words[0].start - energy.start) / .seconds(1)) <= 0.2, "\(words[0]), \(energy)")
        for (word, next) in zip(words, words.dropFirst()) {
            #expect(word.start < word.end && word.end <= next.start)
        }
        // After a pause, in the second utterance, the same holds.
        let silence = [Int16](repeating: 0, count: 32_000)
        let twice = try await transcribe(samples + silence + samples, on: pool())
        let second = try #require(twice.finals.last)
        #expect(twice.finals.count >= 2)
        let offset: Duration = .nanoseconds(Int64(samples.count + silence.count) * 62_500)
        let shifted = second.words[0].start - offset - energy.start
        #expect(abs(shifted / .seconds(1)) <= 0.2, "\(second.words[0])")
    }

    @Test func theCutOfTheAudioDoesNotMatter() async throws {
        let pool = try await pool()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for recordings in [SampleRecording.all.prefix(1), SampleRecording.all[1..<2], SampleRecording.all[2...]] {
                group.addTask {
                    for recording in recordings {
                        let whole = try await transcribe(recording.samples, piece: .max / 2, on: pool).finals
                        #expect(!whole.isEmpty)
                        for piece in [320, 1_600, 1_237] {
                            let log = try await transcribe(recording.samples, piece: piece, on: pool)
                            #expect(log.finals == whole, "\(recording) in pieces of \(piece)")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func wordErrorsAreNotAboveTheCommands() async throws {
        // pocketsphinx_continuous -infile, with its defaults, makes 34 errors in these 78 words.
        var errors = 0
        for recording in SampleRecording.all {
            let log = try await transcribe(recording.samples, on: pool())
            errors += wordErrors(said: recording.transcript, heard: log.texts.joined(separator: " "))
        }
        #expect(SampleRecording.all.count == 6)
        #expect(errors <= 34, "\(errors) errors")
    }

    @Test func aDecoderRemembersNothingOfTheStreamBefore() async throws {
        let pool = try await pool()
        let samples = try SampleRecording.named("librivox-0890.wav").samples
        // The others are taken, so that the same decoder serves all.
        let others = [try reserve(pool), try reserve(pool)]
        defer { for other in others { other.release() } }
        let first = try await transcribe(samples, on: pool).eventsOfAudio
        _ = try await transcribe(SampleRecording.named("jfk.wav").samples, on: pool)
        #expect(try await transcribe(samples, on: pool).eventsOfAudio == first)
        // A stream that was cancelled in the middle of a word leaves nothing behind either.
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: 16_000) { log.add($0) }
        _ = stream.send(try SampleRecording.named("jfk.wav").samples)
        await log.wait { !$0.isEmpty }
        stream.cancel()
        #expect(stream.send([1]) == .dropped)
        await untilAvailable(1, pool)
        #expect(!log.events.contains { $0.isLast })
        #expect(try await transcribe(samples, on: pool).eventsOfAudio == first)
    }

    @Test func threeStreamsAtOnceAreAsThreeAlone() async throws {
        let pool = try await pool()
        let names = ["goforward.wav", "librivox-0930.wav", "librivox-0880.wav"]
        var alone: [[RecognizerEvent]] = []
        for name in names {
            alone.append(try await transcribe(SampleRecording.named(name).samples, on: pool).eventsOfAudio)
        }
        let together = try await withThrowingTaskGroup(of: (Int, [RecognizerEvent]).self) { group in
            for (index, name) in names.enumerated() {
                group.addTask {
                    (index, try await transcribe(SampleRecording.named(name).samples, on: pool).eventsOfAudio)
                }
            }
            return try await group.reduce(into: [Int: [RecognizerEvent]]()) { $0[$1.0] = $1.1 }
        }
        for index in names.indices { #expect(together[index] == alone[index]) }
    }

    @Test func partialsComeSoonAndOften() async throws {
        for name in ["goforward.wav", "librivox-0880.wav", "librivox-0930.wav"] {
            let log = try await transcribe(SampleRecording.named(name).samples, on: pool())
            let first = try #require(log.partials.first)
            let word = try #require(log.finals.first?.words.first)
            #expect(first.through - word.end <= .seconds(1.5), "\(name): \(first.through), \(word)")
            // After the hold-back at least one update for each second of the utterance.
            let last = try #require(log.finals.first?.words.last)
            let updates = log.partials.map(\.through) + [last.end]
            for (one, next) in zip(updates, updates.dropFirst()) { #expect(next - one <= .seconds(1), "\(name)") }
            #expect(log.partials.allSatisfy { result in result.words.allSatisfy { $0.confidence == nil } })
        }
    }

    @Test func laterUtterancesShowWithinHalfASecond() async throws {
        let log = try await transcribe(SampleRecording.named("jfk.wav").samples, on: pool())
        #expect(log.finals.count >= 3)
        for final in log.finals.dropFirst() {
            let first = try #require(log.partials.first { $0.start == final.start })
            let wait = first.through - final.words[0].end
            #expect(wait <= .seconds(0.5), "\(wait) after \(final.words[0])")
        }
    }

    @Test func progressIsSteadyAndComplete() async throws {
        let samples = [Int16](repeating: 0, count: 160_000)
        let log = try await transcribe(samples, on: pool())
        #expect(log.finals.isEmpty && log.partials.isEmpty)
        let progress = log.events.compactMap(\.progress)
        #expect(progress.count == 100)
        for (one, next) in zip(progress, progress.dropFirst()) { #expect(next - one == .milliseconds(100)) }
        #expect(progress.last == .seconds(10))
        #expect(log.events.last == .ended)
    }

    @Test func noiseAndClippingDoNoHarm() async throws {
        var noise = SeededNoise(state: 5)
        let white = (0..<80_000).map { _ in Int16(clamping: Int(3_000 * noise.gaussian())) }
        let square = (0..<80_000).map { _ in Bool.random(using: &noise) ? Int16.max : Int16.min }
        for samples in [white, square] {
            let log = try await transcribe(samples, on: pool())
            #expect(log.events.last == .ended)
            #expect(log.events.compactMap(\.progress).last == .seconds(5))
        }
    }

    @Test func otherSampleRates() async throws {
        let samples = try SampleRecording.named("goforward.wav").samples
        let doubled = samples.flatMap { [$0, $0] }
        let log = try await transcribe(doubled, piece: 441, sampleRate: 32_000, on: pool())
        #expect(log.texts == ["go forward ten meters"])
        let end = try #require(log.events.compactMap(\.progress).last)
        #expect(abs((end - .seconds(Double(samples.count) / 16_000)) / .milliseconds(1)) <= 1)
        let narrow = stride(from: 0, to: samples.count, by: 2).map { samples[$0] }
        let telephone = try await transcribe(narrow, piece: 160, sampleRate: 8_000, on: pool())
        #expect(telephone.finals.first?.words.first?.text == "go", "\(telephone.texts)")
        #expect(abs((telephone.finals[0].words[0].start - log.finals[0].words[0].start) / .milliseconds(1)) <= 60)
    }
}

extension TranscriptionTests {
    @Test func flushGivesFinalsAndGoesOn() async throws {
        let pool = try await pool()
        let samples = try SampleRecording.named("librivox-0870.wav").samples
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: 16_000) { log.add($0) }
        stream.flush()
        _ = stream.send(Array(samples[..<48_000]))
        stream.flush()
        await log.wait { events in events.count { $0 == .flushed } == 2 }
        let events = log.events
        #expect(events.first == .flushed, "nothing to give, and said at once")
        #expect(events.last == .flushed)
        #expect(events.compactMap(\.progress).last == .seconds(3))
        #expect(!log.finals.isEmpty, "speech was in progress at 3 s")
        _ = stream.send(Array(samples[48_000...]))
        stream.finish()
        await log.waitForEnd()
        let later = log.finals.filter { $0.through > .seconds(3) }
        #expect(!later.isEmpty)
        #expect(later.allSatisfy { $0.start >= .seconds(2.75) }, "\(later)")
    }

    @Test func shortStreamsGiveWhatTheyHold() async throws {
        let nothing = try await transcribe([], on: pool())
        #expect(nothing.events == [.ended])
        let tiny = try await transcribe([1, 2, 3], on: pool())
        #expect(tiny.events == [.progress(through: .nanoseconds(187_500)), .ended])
        // Half a second of speech is less than what is held back to learn the voice.
        let samples = try SampleRecording.named("goforward.wav").samples
        let short = try await transcribe(Array(samples[6_000..<14_000]), on: pool())
        #expect(!short.finals.isEmpty)
        #expect(short.events.compactMap(\.progress).last == .milliseconds(500))
    }

    @Test func reservationsAreCounted() async throws {
        let pool = try await pool()
        #expect(pool.capacity == 3)
        #expect(pool.available == 3)
        var taken = try (0..<3).map { _ in try reserve(pool) }
        #expect(pool.reserve() == nil)
        taken[0].release()
        taken[0].release()
        #expect(pool.available == 1)
        taken.removeFirst()
        // A reservation that is forgotten comes back.
        taken.removeAll()
        #expect(pool.available == 3)
        let used = try reserve(pool)
        let log = EventLog()
        let stream = try used.start(sampleRate: 8_000) { log.add($0) }
        #expect(throws: LocalSpeechError.self) { try used.start(sampleRate: 8_000) { _ in } }
        stream.finish()
        await log.waitForEnd()
        #expect(pool.available == 3, "the decoder is free when the owner hears of the end")
        used.release()
        #expect(pool.available == 3)
        let wrong = try reserve(pool)
        let error = #expect(throws: LocalSpeechError.self) { try wrong.start(sampleRate: 4_000) { _ in } }
        #expect(error?.message.contains("8000 to 48000") == true)
    }

    @Test func aForgottenStreamFreesItsDecoder() async throws {
        let pool = try await pool()
        do {
            let stream = try reserve(pool).start(sampleRate: 16_000) { _ in }
            _ = stream.send([Int16](repeating: 5, count: 1_600))
        }
        await untilAvailable(3, pool)
        #expect(pool.available == 3)
    }

    @Test func releaseCancelsTheStream() async throws {
        let pool = try await pool()
        let reservation = try reserve(pool)
        let stream = try reservation.start(sampleRate: 16_000) { _ in }
        reservation.release()
        await untilAvailable(3, pool)
        #expect(stream.send([1]) == .dropped)
    }

    @Test func backpressureThenCapacity() async throws {
        let pool = try await pool()
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: 16_000) { log.add($0) }
        let samples = try SampleRecording.named("jfk.wav").samples
        #expect(stream.send(samples) == .backpressure, "11 s are above the mark of 5")
        await log.wait { $0.contains(.capacity) }
        stream.finish()
        #expect(stream.send(samples) == .dropped)
        await log.waitForEnd()
        #expect(log.events.count { $0 == .capacity } == 1)
        #expect(try await transcribe(samples, on: pool).finals == log.finals)
    }

    @Test func whoIgnoresBackpressureIsCutOff() async throws {
        let pool = try await pool()
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: 8_000) { log.add($0) }
        #expect(stream.send([Int16](repeating: 0, count: 8_000 * 61)) == .dropped)
        #expect(stream.send([1]) == .dropped)
        await log.waitForEnd()
        guard case .failed(let error) = log.events.last else {
            Issue.record("\(log.events)")
            return
        }
        #expect(error.code == .overrun)
        #expect(pool.available == 3)
    }

    @Test func aMissingModelNamesThePackage() async {
        var model = SpeechModel.english
        model.dictionary = "/nonexistent/words.dict"
        let error = await #expect(throws: LocalSpeechError.self) { _ = try await DecoderPool(model: model, slots: 1) }
        #expect(error?.code == .modelMissing)
        #expect(error?.message.contains("pocketsphinx-en-us") == true)
        #expect(error?.message.contains("/nonexistent/words.dict") == true)
    }

    @Test func shutdownEndsStreamsAndRefusesNewOnes() async throws {
        let loaded = EventCount()
        let pool = try await DecoderPool(slots: 1) { loaded.add($0) }
        #expect(loaded.values == [1])
        let log = EventLog()
        let stream = try reserve(pool).start(sampleRate: 16_000) { log.add($0) }
        _ = stream.send(try SampleRecording.named("goforward.wav").samples)
        await pool.shutdown()
        guard case .failed(let error) = log.events.last else {
            Issue.record("\(log.events)")
            return
        }
        #expect(error.code == .shutDown)
        #expect(stream.send([1]) == .dropped)
        #expect(pool.reserve() == nil)
        #expect(pool.available == 0)
        await pool.shutdown()
    }
}

/// Waits, giving way to others, until decoders are free; the suite's time limit ends what never comes.
private func untilAvailable(_ count: Int, _ pool: DecoderPool) async {
    while pool.available < count { try? await Task.sleep(for: .milliseconds(5)) }
}

/// The first and the last 20 ms whose energy is above a 50th (-17 dB) of the loudest's.
private func energyRange(_ samples: [Int16]) -> (start: Duration, end: Duration) {
    let energies = stride(from: 0, to: samples.count - 320, by: 320).map { start in
        samples[start..<start + 320].reduce(0.0) { $0 + Double($1) * Double($1) }
    }
    let loudest = energies.max() ?? 0
    let first = energies.firstIndex { $0 > loudest / 50 } ?? 0
    let last = energies.lastIndex { $0 > loudest / 50 } ?? 0
    return (.milliseconds(20 * first), .milliseconds(20 * (last + 1)))
}
