import FoundationEssentials
import Hansard
import Web

/// What both planes say of transcripts.
enum TranscriptAnswers {
    /// How long a download address may be good, in seconds: up to a day.
    static let downloadSeconds = 1...86_400
    static let defaultDownloadSeconds = 900

    /// The form that a call asks for; JSON if it does not say.
    static func format(_ match: Route.Match) throws(HansardError) -> TranscriptFormat {
        guard let requested = try match.value("format") else { return .json }
        guard let format = TranscriptFormat(rawValue: requested) else {
            let allowed = TranscriptFormat.allCases.map(\.rawValue).joined(separator: ", ")
            throw HansardError(
                .invalid, "bad value '\(requested.prefix(64))' of format: allowed: \(allowed)", field: "format")
        }
        return format
    }

    /// The transcript in one form.
    static func document(_ transcript: Transcript, _ format: TranscriptFormat) throws -> HTTPResponse {
        let body: [UInt8] =
            switch format {
            case .json: [UInt8](try TranscriptDocument.encode(transcript))
            case .txt: Array(transcript.plainText.utf8)
            case .srt: Array(transcript.subRip.utf8)
            case .vtt: Array(transcript.webVTT.utf8)
            }
        return HTTPResponse(status: 200, headers: ["Content-Type": format.contentType], body: body)
    }

    /// How long the address is to be good that a call asks for, in seconds.
    static func seconds(_ match: Route.Match) throws(HansardError) -> Int {
        try match.number("valid_seconds", downloadSeconds) ?? defaultDownloadSeconds
    }

    /// An address that anyone can read the transcript from.
    ///
    /// - Throws: `.conflict` if the store gives out none.
    static func download(
        _ session: SessionID, of tenant: TenantID, from store: any TranscriptStore, seconds: Int, now: Date
    ) async throws -> HTTPResponse {
        guard let url = try await store.downloadURL(of: session, tenant: tenant, validFor: .seconds(seconds)) else {
            throw HansardError(
                .conflict, "this server keeps transcripts where they have no address of their own; read them here")
        }
        let end = now.addingTimeInterval(Double(seconds))
        return .json { text in
            text.field("url", url)
            text.field("expires_at", Timestamp.format(end))
        }
    }
}

extension TranscriptEntry {
    /// - Parameter path: below which the caller reads transcripts.
    func write(into text: inout JSONText, path: String) {
        text.field("session_id", session.description)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("bytes", size)
        text.field("url", "\(path)/\(session)")
    }
}
