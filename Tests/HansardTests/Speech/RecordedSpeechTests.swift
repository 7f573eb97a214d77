import Testing

@testable import Hansard

/// Real speech, against a measure of its own.
@Suite(.enabled(if: RecordedAudio.isPresent, RecordedAudio.whyAbsent))
struct RecordedSpeechTests {
    /// How far a detected onset may be from the measured one, in seconds.
    static let tolerance = 0.2
    /// The same for ends: who breathes out audibly is heard, and the measure does not call that speech.
    static let endTolerance = 0.3

    @Test(arguments: RecordedAudio.names) func speechBeginsAndEndsWhereItIs(name: String) throws {
        let audio = try RecordedAudio(name)
        let measured = audio.measured
        var signal = Signal()
        signal.append(audio.samples)
        signal.digitalSilence(seconds: 1)
        let hearing = Hearing(signal.samples)
        #expect(abs(try #require(hearing.onsets.first) - measured.onset) <= Self.tolerance)
        #expect(abs(try #require(hearing.ends.last) - measured.end) <= Self.endTolerance)
        #expect(hearing.onsets.count == hearing.ends.count)
    }

    /// 20 dB below speech at about -20 dB, and quiet recordings.
    @Test(arguments: RecordedAudio.names, [(-40.0, 1.0), (-90, 0.3), (-60, 0.2)])
    func noiseAndLevelMoveTheEdgesLittle(name: String, change: (noise: Double, gain: Double)) throws {
        let audio = try RecordedAudio(name)
        let measured = audio.measured
        var signal = Signal()
        signal.append(audio.samples)
        signal.digitalSilence(seconds: 1)
        let hearing = Hearing(signal.with(noise: change.noise, gain: change.gain))
        #expect(abs(try #require(hearing.onsets.first) - measured.onset) <= Self.tolerance)
        #expect(abs(try #require(hearing.ends.last) - measured.end) <= 0.35)
    }

    /// The clips in a row, 1.5 s of digital silence after each: where each begins and ends in the whole.
    static func joined() throws -> (signal: Signal, spans: [(onset: Double, end: Double)]) {
        var signal = Signal()
        var spans: [(onset: Double, end: Double)] = []
        for name in RecordedAudio.names {
            let audio = try RecordedAudio(name)
            let start = signal.seconds
            spans.append((start + audio.measured.onset, start + audio.measured.end))
            signal.append(audio.samples)
            signal.digitalSilence(seconds: 1.5)
        }
        return (signal, spans)
    }

    @Test func joinedClipsAreToldApart() throws {
        let (signal, spans) = try Self.joined()
        let hearing = Hearing(signal.samples)
        // Only the speaker of `jfk` pauses for as long as a second within the clip: twice.
        #expect(hearing.utterances(gap: 1) == spans.count + 2)
        for span in spans {
            #expect(hearing.onsets.contains { abs($0 - span.onset) <= Self.tolerance }, "onset at \(span.onset)")
            #expect(hearing.ends.contains { abs($0 - span.end) <= Self.endTolerance }, "end at \(span.end)")
        }
    }

    @Test(arguments: [160, 1_000, 1 << 20]) func aSessionTellsTheOnsetsAndEndsOfJoinedClips(piece: Int) throws {
        let (signal, spans) = try Self.joined()
        var run = SessionRun.live {
            $0.wantsSpeechStarted = true
            $0.endpointing = .milliseconds(1_000)
        }
        run.engine(.final(.said("everything", through: 60_000)))
        for start in stride(from: 0, to: signal.samples.count, by: piece) {
            run.audio(Array(signal.samples[start..<min(signal.samples.count, start + piece)]))
        }
        let onsets = run.actions.messages.compactMap { message -> Double? in
            if case .speechStarted(_, _, let at) = message { at.seconds } else { nil }
        }
        #expect(onsets.count == spans.count + 2)
        #expect(run.actions.results.filter(\.isSpeechFinal).count == spans.count + 2)
        for span in spans { #expect(onsets.contains { abs($0 - span.onset) <= Self.tolerance }) }
    }

    /// With `endpointing=300`, every clip's end is an endpoint, and so is every pause of that length within one.
    @Test func endpointsOf300MillisecondsAreTheMeasuredPauses() throws {
        let (signal, spans) = try Self.joined()
        var run = SessionRun.live {
            $0.wantsSpeechStarted = true
            $0.endpointing = .milliseconds(300)
        }
        run.engine(.final(.said("everything", through: 60_000)))
        run.audio(signal.samples)
        let endpoints = run.actions.results.filter(\.isSpeechFinal).count
        let onsets = run.actions.trace.filter { $0.hasPrefix("speech") }.count
        #expect(endpoints == onsets, "each utterance has one of each")
        // By level, jfk pauses four times for more than 0.4 s, and once for 0.3 s, give or take what one calls speech.
        #expect((spans.count + 4...spans.count + 5).contains(endpoints))
    }
}
