/// The forms in which a transcript can be read.
public enum TranscriptFormat: String, Sendable, CaseIterable {
    /// The stored document: words, times, confidences, channels, engine.
    case json
    /// The text alone, a line for each utterance.
    case txt
    /// SubRip subtitles.
    case srt
    /// WebVTT subtitles (W3C).
    case vtt

    /// The media type of the form.
    public var contentType: String {
        switch self {
        case .json: "application/json"
        case .txt: "text/plain; charset=utf-8"
        case .srt: "application/x-subrip; charset=utf-8"
        case .vtt: "text/vtt; charset=utf-8"
        }
    }
}

/// A piece of a transcript short enough to be shown at once.
struct Cue: Equatable {
    /// Broadcasters' rule of thumb: two lines of 42 characters, at most 7 seconds.
    static let maximumCharacters = 84
    static let maximumDuration = AudioTime.milliseconds(7_000)

    var start: AudioTime
    var end: AudioTime
    var text: String
    var channel: Int
    var speaker: Int?
}

extension Transcript {
    /// The text alone. With several channels each line begins with its channel; where the engine told speakers apart, with
    /// who spoke, and each turn has a line.
    public var plainText: String {
        results.map { result in
            turns(of: result).map { label(channel: result.channel, speaker: $0.speaker) + $0.text + "\n" }.joined()
        }.joined()
    }

    /// What each speaker said in a final; as one turn if the engine told none apart.
    private func turns(of result: FinalResult) -> [(speaker: Int?, text: String)] {
        guard result.words.contains(where: { $0.speaker != nil }) else {
            return [(nil, Self.line(result.transcript))]
        }
        var turns: [(speaker: Int?, text: String)] = []
        for word in result.words {
            if let last = turns.last, last.speaker == word.speaker {
                turns[turns.count - 1].text += " " + Self.line(word.written)
            } else {
                turns.append((word.speaker, Self.line(word.written)))
            }
        }
        return turns
    }

    /// SubRip: numbered cues with `,` before the milliseconds.
    public var subRip: String {
        cues.enumerated().map { number, cue in
            "\(number + 1)\n\(Self.clock(cue.start, ",")) --> \(Self.clock(cue.end, ","))\n"
                + "\(label(channel: cue.channel, speaker: cue.speaker))\(cue.text)\n\n"
        }.joined()
    }

    /// WebVTT. Text is escaped as the W3C's cue text syntax wants it; a speaker is a voice span.
    public var webVTT: String {
        "WEBVTT\n\n"
            + cues.map { cue in
                let ampersands = cue.text.replacing("&", with: "&amp;")
                let text = ampersands.replacing("<", with: "&lt;").replacing(">", with: "&gt;")
                return "\(Self.clock(cue.start, ".")) --> \(Self.clock(cue.end, "."))\n"
                    + "\(label(channel: cue.channel, speaker: nil))"
                    + (cue.speaker.map { "<v Speaker \($0)>\(text)</v>" } ?? text) + "\n\n"
            }.joined()
    }

    /// The finals cut into cues at word boundaries, in order of time.
    var cues: [Cue] {
        results.flatMap { result -> [Cue] in
            guard !result.words.isEmpty else {
                return [
                    Cue(
                        start: result.start, end: result.end, text: Self.line(result.transcript),
                        channel: result.channel)
                ]
            }
            var cues: [Cue] = []
            for word in result.words {
                let text = Self.line(word.written)
                let end = max(word.end, word.start + .milliseconds(1))
                if var last = cues.last, last.speaker == word.speaker,
                    last.text.count + 1 + text.count <= Cue.maximumCharacters,
                    end - last.start <= Cue.maximumDuration
                {
                    last.text += " " + text
                    last.end = max(last.end, end)
                    cues[cues.count - 1] = last
                } else {
                    cues.append(
                        Cue(
                            start: word.start, end: end, text: text, channel: result.channel, speaker: word.speaker))
                }
            }
            return cues
        }.sorted { ($0.start, $0.channel) < ($1.start, $1.channel) }
    }

    /// A line break would end the line, and an empty line the cue.
    private static func line(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).joined(separator: " ")
    }

    private var channelCount: Int { (results.map(\.channel).max() ?? 0) + 1 }

    private func label(channel: Int, speaker: Int?) -> String {
        (channelCount > 1 ? "[\(channel)] " : "") + (speaker.map { "Speaker \($0): " } ?? "")
    }

    private static func clock(_ time: AudioTime, _ separator: String) -> String {
        let milliseconds = max(0, time.milliseconds)
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return padded(milliseconds / 3_600_000, 2) + ":" + padded(milliseconds / 60_000 % 60, 2) + ":"
            + padded(milliseconds / 1_000 % 60, 2) + separator + padded(milliseconds % 1_000, 3)
    }
}
