import Foundation
import Hansard

/// Decides what of a session is shown: takes messages, gives the text to write.
struct TranscriptPrinter {
    /// The forms.
    enum Style: Equatable {
        /// A line for each final, and for each interim one that begins with an ellipsis.
        case lines(interim: Bool)
        /// A line for each final; below it the interim one is redrawn within `width` columns.
        case terminal(width: Int)
        /// Each message as it came.
        case json
        /// Subtitles, at the end.
        case subtitles
    }

    let style: Style
    /// Whether the server has said its last word.
    private(set) var hasMetadata = false
    /// For subtitles alone: nothing else needs to remember.
    private var finals: [FinalResult] = []
    private var interimIsShown = false

    /// Back to the first column, and the line erased (ECMA-48 EL).
    private static let eraseLine = "\r\u{1b}[K"

    init(style: Style) { self.style = style }

    /// What to write after a message.
    mutating func received(_ bytes: [UInt8]) -> String {
        let message = ServerMessage(bytes)
        if message?.type == "Metadata" { hasMetadata = true }
        if style == .json { return String(decoding: bytes, as: UTF8.self) + "\n" }
        guard let message, let transcript = message.transcript else { return "" }
        let text = Self.printable(transcript)
        if message.isFinal == true { return final(text, message) }
        switch style {
        case .lines(interim: true) where !text.isEmpty: return "… \(text)\n"
        case .terminal(let width) where !text.isEmpty || interimIsShown:
            interimIsShown = !text.isEmpty
            return Self.eraseLine + Self.tail(text, columns: width - 1)
        default: return ""
        }
    }

    /// What to write when the session is over.
    mutating func ended() -> String {
        if style == .subtitles { return Subtitles.subRip(of: finals) }
        defer { interimIsShown = false }
        return interimIsShown ? Self.eraseLine : ""
    }

    private mutating func final(_ text: String, _ message: ServerMessage) -> String {
        if style == .subtitles {
            if let result = message.finalResult(sequence: finals.count) { finals.append(result) }
            return ""
        }
        let erased = interimIsShown ? Self.eraseLine : ""
        interimIsShown = false
        return erased + (text.isEmpty ? "" : text + "\n")
    }

    /// Without anything that a terminal would obey: the words come from elsewhere.
    private static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.properties.generalCategory != .control }))
    }

    /// The end of the text, which is what is new in an interim result.
    private static func tail(_ text: String, columns: Int) -> String {
        text.count <= columns ? text : "…" + text.suffix(max(0, columns - 1))
    }
}

/// Finals as subtitles, by the same rules as the server's stored transcripts.
enum Subtitles {
    /// SubRip.
    static func subRip(of finals: [FinalResult]) -> String {
        // The document's other fields do not show in subtitles.
        let nobody = UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        let transcript = Transcript(
            session: SessionID(nobody),
            tenant: TenantID(nobody),
            key: KeyID(""),
            startedAt: .distantPast,
            endedAt: .distantPast,
            state: .completed,
            audioMilliseconds: 0,
            sampleRate: 0,
            channels: 1,
            options: SessionOptions(),
            region: "",
            results: finals
        )
        return transcript.subRip
    }
}
