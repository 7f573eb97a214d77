import CSpeexDSP

/// Changes the sample rate of one mono stream with speexdsp. Not `Sendable`: it belongs to whoever feeds the stream.
///
/// The output is aligned with the input (the filter's delay is taken out), does not depend on how the input was cut,
/// and after `flush` has as many samples as the input's duration asks for. Equal rates pass through unchanged.
public final class Resampler {
    /// speexdsp's quality, 0 to 10: 5 ("desktop") keeps speech up to 0.9 of the band for about 0.1 % of a core.
    private static let quality: Int32 = 5
    /// Output room given to one C call at most, in samples.
    private static let outputChunkMax = 4_096

    /// Input samples per second, in Hz.
    public let sourceRate: Int
    /// Output samples per second, in Hz.
    public let targetRate: Int

    private let state: OpaquePointer?
    private var samplesIn: Int64 = 0
    private var samplesOut: Int64 = 0

    /// - Parameters:
    ///   - sourceRate: in `AudioFormat.sampleRates`.
    ///   - targetRate: in `AudioFormat.sampleRates`.
    /// - Throws: `AudioError` if a rate is out of range or the library has no memory.
    public init(from sourceRate: Int, to targetRate: Int = 16_000) throws(AudioError) {
        for rate in [sourceRate, targetRate] where !AudioFormat.sampleRates.contains(rate) {
            throw AudioError(
                .unsupportedFormat,
                "a sample rate of \(rate) Hz is not supported; supported: 8000 to 48000 Hz"
            )
        }
        self.sourceRate = sourceRate
        self.targetRate = targetRate
        if sourceRate == targetRate {
            state = nil
            return
        }
        var code: Int32 = 0
        guard let state = speex_resampler_init(1, UInt32(sourceRate), UInt32(targetRate), Self.quality, &code) else {
            throw AudioError(.resampler, "speex_resampler_init: \(String(cString: speex_resampler_strerror(code)))")
        }
        speex_resampler_skip_zeros(state)
        self.state = state
    }

    deinit {
        if let state { speex_resampler_destroy(state) }
    }

    /// Appends what the input so far allows; the filter keeps the last few milliseconds.
    public func process(_ samples: UnsafeBufferPointer<Int16>, appendingTo output: inout [Int16]) {
        guard state != nil else {
            output.append(contentsOf: samples)
            return
        }
        samplesIn += Int64(samples.count)
        run(samples, outputMax: .max, appendingTo: &output)
    }

    /// Ends the stream: appends what the filter kept. The resampler then stands as at the start of a new stream.
    public func flush(appendingTo output: inout [Int16]) {
        guard let state else { return }
        let expected = (samplesIn * Int64(targetRate) + Int64(sourceRate) / 2) / Int64(sourceRate)
        let silence = [Int16](repeating: 0, count: Int(speex_resampler_get_input_latency(state)) + 1)
        // Twice the filter's delay of silence brings every sample out; the bound only guards against a C surprise.
        for _ in 0..<4 where samplesOut < expected {
            silence.withUnsafeBufferPointer { run($0, outputMax: expected - samplesOut, appendingTo: &output) }
        }
        speex_resampler_reset_mem(state)
        speex_resampler_skip_zeros(state)
        samplesIn = 0
        samplesOut = 0
    }

    private func run(_ samples: UnsafeBufferPointer<Int16>, outputMax: Int64, appendingTo output: inout [Int16]) {
        var rest = samples[...]
        var room = outputMax
        while !rest.isEmpty && room > 0 {
            let start = output.count
            // A little more than the input asks for, so that one call is usually enough.
            let wanted = rest.count * targetRate / sourceRate + 8
            let chunk = Int(min(room, Int64(min(wanted, Self.outputChunkMax))))
            output.append(contentsOf: repeatElement(0, count: chunk))
            var taken = UInt32(clamping: rest.count)
            var written = UInt32(chunk)
            output.withUnsafeMutableBufferPointer { whole in
                _ = speex_resampler_process_int(
                    state,
                    0,
                    UnsafeBufferPointer(rebasing: rest).baseAddress,
                    &taken,
                    UnsafeMutableBufferPointer(rebasing: whole[start...]).baseAddress,
                    &written
                )
            }
            output.removeLast(chunk - Int(written))
            samplesOut += Int64(written)
            room -= Int64(written)
            rest = rest.dropFirst(Int(taken))
            if taken == 0 && written == 0 { break }
        }
    }
}

extension [Int16] {
    /// Appends one channel of interleaved frames. An incomplete last frame is ignored.
    ///
    /// - Parameter channel: from 0, less than `channels`.
    public mutating func appendChannel(_ channel: Int, of interleaved: [Int16], channels: Int) {
        precondition((0..<channels).contains(channel), "channel \(channel) of \(channels)")
        reserveCapacity(count + interleaved.count / channels)
        for frame in 0..<interleaved.count / channels { append(interleaved[frame * channels + channel]) }
    }

    /// Appends the mean of all channels of interleaved frames. An incomplete last frame is ignored.
    public mutating func appendDownmix(of interleaved: [Int16], channels: Int) {
        precondition(channels > 0, "a frame has at least one channel")
        if channels == 1 {
            append(contentsOf: interleaved)
            return
        }
        reserveCapacity(count + interleaved.count / channels)
        for frame in 0..<interleaved.count / channels {
            var sum = 0
            for channel in 0..<channels { sum += Int(interleaved[frame * channels + channel]) }
            append(Int16(sum / channels))
        }
    }
}
