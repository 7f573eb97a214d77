import Foundation
import LocalSpeech
import Testing

/// Compares with `pocketsphinx_continuous -infile`, with its defaults, on the same audio: word errors and CPU time.
/// Takes half a minute of computing; on request: `HANSARD_COMPARE_SPEECH=1 swift test --filter ComparisonTests`.
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["HANSARD_COMPARE_SPEECH"] != nil))
struct ComparisonTests {
    private struct Score: CustomStringConvertible {
        var errors = 0
        var words = 0
        var processorSeconds = 0.0
        var audioSeconds = 0.0

        var description: String {
            let rate = 100 * Double(errors) / Double(max(words, 1))
            return String(
                format: "%d errors in %d words (%.0f %%), %.3f CPU s per audio s",
                errors,
                words,
                rate,
                processorSeconds / audioSeconds
            )
        }

        mutating func add(_ recording: SampleRecording, heard: String, seconds: Double) {
            errors += wordErrors(said: recording.transcript, heard: heard)
            words += recording.transcript.split(separator: " ").count
            processorSeconds += seconds
            audioSeconds += Double(recording.samples.count) / 16_000
        }
    }

    @Test(arguments: [nil, 20.0]) func errorsAndCost(noise: Double?) async throws {
        let recordings = SampleRecording.all.map { recording in
            noise.map { recording.withNoise(below: $0) } ?? recording
        }
        var ours = Score()
        var command = Score()
        let pool = try await DecoderPool(slots: 1)
        for recording in recordings {
            let before = processorSeconds(RUSAGE_SELF)
            let log = EventLog()
            let stream = try #require(pool.reserve()).start(sampleRate: 16_000) { log.add($0) }
            _ = stream.send(recording.samples)
            stream.finish()
            await log.waitForEnd()
            let text = log.texts.joined(separator: " ")
            ours.add(recording, heard: text, seconds: processorSeconds(RUSAGE_SELF) - before)
            print(recording, "ours:", text)
        }
        await pool.shutdown()
        for recording in recordings {
            let before = processorSeconds(RUSAGE_CHILDREN)
            let text = try transcribeByCommand(recording)
            command.add(recording, heard: text, seconds: processorSeconds(RUSAGE_CHILDREN) - before)
        }
        print("noise: \(noise.map { "\($0) dB" } ?? "none")\n  ours:    \(ours)\n  command: \(command)")
        #expect(ours.errors <= command.errors)
        #expect(ours.processorSeconds <= 0.5 * command.processorSeconds)
    }

    private func transcribeByCommand(_ recording: SampleRecording) throws -> String {
        let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).raw")
        try recording.samples.withUnsafeBytes { Data($0) }.write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/pocketsphinx_continuous")
        process.arguments = ["-infile", file.path, "-logfn", "/dev/null"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: text, as: UTF8.self).split(separator: "\n").joined(separator: " ")
    }

    private func processorSeconds(_ who: __rusage_who) -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(truncatingIfNeeded: who.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1_000_000 }
    }
}
