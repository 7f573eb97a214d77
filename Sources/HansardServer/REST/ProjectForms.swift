import FoundationEssentials
import Hansard
import Web

/// What usage in Deepgram's form can be told apart by.
enum ProjectGrouping: String, CaseIterable {
    case accessor, endpoint, models, method, tags, deployment

    /// nil where everything here is the same.
    var dimension: UsageDimension? {
        switch self {
        case .accessor: .key
        case .models: .model
        case .tags: .tag
        case .endpoint, .method, .deployment: nil
        }
    }
}

/// How a request went.
enum RequestStatus: String, CaseIterable {
    case succeeded, failed

    /// Those of sessions that it stands for.
    var states: [SessionFilter.Status] {
        self == .failed ? [.failed] : [.completed, .interrupted, .terminated, .storing]
    }
}

/// What of the usage a call in Deepgram's form is limited to.
struct ProjectFilter: Sendable {
    private enum Endpoint: String, CaseIterable { case listen, read, speak, agent }
    private enum Method: String, CaseIterable { case sync, async, streaming }
    private enum Deployment: String, CaseIterable {
        case hosted, beta
        case selfHosted = "self-hosted"
    }

    /// Whether it lets through anything of the one kind that is here.
    private(set) var isOfThisServer = true
    private(set) var group = UsageGroup()

    /// A filter that lets everything through.
    init() {}

    /// - Parameters:
    ///   - others: parameters that the call has besides.
    ///   - hasLabels: whether it may name a tag and a model.
    init(_ match: Route.Match, besides others: [String], hasLabels: Bool = true) throws(HansardError) {
        let labels = hasLabels ? ["tag", "model"] : []
        let known = Set(others + labels + ["accessor", "endpoint", "method", "deployment"])
        if let feature = QueryItem.parse(match.request.query).map(\.name).first(where: Self.features.contains),
            !known.contains(feature)
        {
            throw HansardError(
                .invalid,
                "which sessions used \(feature) is not kept, so that usage cannot be filtered by it: leave it out",
                field: feature)
        }
        try match.requireQuery(only: known)
        let endpoint = try match.choice("endpoint", Endpoint.self) ?? .listen
        let method = try match.choice("method", Method.self) ?? .streaming
        let deployment = try match.choice("deployment", Deployment.self) ?? .selfHosted
        isOfThisServer = endpoint == .listen && method == .streaming && deployment == .selfHosted
        group[.key] = try match.text("accessor", UsageAnswers.textLength)
        if hasLabels {
            group[.tag] = try match.text("tag", UsageAnswers.textLength)
            group[.model] = try match.text("model", UsageAnswers.textLength)
        }
    }

    /// What Deepgram filters by besides, as its SDK 7.17.0 knows it.
    private static let features: Set<String> = [
        "alternatives", "callback", "callback_method", "channels", "custom_intent", "custom_intent_mode",
        "custom_topic", "custom_topic_mode", "detect_entities", "detect_language", "diarize", "dictation", "encoding",
        "extra", "filler_words", "intents", "keyterm", "keywords", "language", "measurements", "multichannel",
        "numerals", "paragraphs", "profanity_filter", "punctuate", "redact", "replace", "sample_rate", "search",
        "sentiment", "smart_format", "summarize", "topics", "utt_split", "utterances", "version",
    ]
}

/// UTC days from one through another.
struct ProjectDays: Sendable, Equatable {
    let first: Date
    /// The first moment after them.
    let end: Date

    /// - Throws: `.invalid` if the last is before the first, or too long after it.
    init(from first: Date, through last: Date) throws(HansardError) {
        self.first = first.day
        end = last.day + 86_400
        guard self.first < end else {
            throw HansardError(.invalid, "end must not be before start; it is the last day that counts", field: "end")
        }
        guard end.timeIntervalSince(self.first) <= Double(BucketWidth.day.maximumDays) * 86_400 else {
            throw HansardError(
                .invalid, "there may be at most \(BucketWidth.day.maximumDays) days from start to end", field: "end")
        }
    }

    /// Where each begins, and where the last ends.
    var boundaries: [Date] {
        Array(sequence(first: first) { $0 < end ? $0 + 86_400 : nil })
    }

    func write(into text: inout JSONText) {
        text.field("start", first.dayText)
        text.field("end", (end - 86_400).dayText)
        text.object("resolution") { text in
            text.field("units", "day")
            text.field("amount", 1)
        }
    }
}

extension Date {
    /// The first moment of its UTC day.
    fileprivate var day: Date {
        Date(timeIntervalSince1970: (timeIntervalSince1970 / 86_400).rounded(.down) * 86_400)
    }

    /// `2026-11-22`.
    fileprivate var dayText: String { String(Timestamp.format(self).prefix(10)) }
}

extension Route.Match {
    private static let years = "the years \(Timestamp.years.lowerBound) to \(Timestamp.years.upperBound)"

    /// A day in the query, its first moment.
    func day(_ name: String) throws(HansardError) -> Date? {
        guard let text = try value(name) else { return nil }
        guard text.utf8.count == 10, let day = Timestamp.read(text + "T00:00:00Z") else {
            throw HansardError(.invalid, "\(name) must be a date such as '2026-11-22', in \(Self.years)", field: name)
        }
        return day
    }

    /// A day or a time in the query; where a time says no zone it is UTC.
    ///
    /// - Parameter isEnd: whether a day is meant with all of it.
    func moment(_ name: String, isEnd: Bool = false) throws(HansardError) -> Date? {
        guard let text = try value(name) else { return nil }
        if text.utf8.count == 10, let day = try? day(name) { return isEnd ? day + 86_400 : day }
        guard let moment = Timestamp.read(text) ?? Timestamp.read(text + "Z") else {
            throw HansardError(
                .invalid,
                "\(name) must be a date such as '2026-11-22' or a time such as '2026-11-22T10:00:00Z', in \(Self.years)",
                field: name)
        }
        return moment
    }

    /// A whole number within a range, which Deepgram's SDKs may write as 10.0.
    func wholeNumber(_ name: String, _ range: ClosedRange<Int>) throws(HansardError) -> Int? {
        guard let text = try value(name) else { return nil }
        guard let number = Int(plain: text.hasSuffix(".0") ? String(text.dropLast(2)) : text), range.contains(number)
        else {
            throw HansardError(
                .invalid, "\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound)", field: name)
        }
        return number
    }
}

extension Tenant {
    func writeProject(into text: inout JSONText) {
        text.field("project_id", id.description)
        text.field("name", name)
    }
}

extension UsageReport.Bucket {
    /// A day as Deepgram names it: from itself to itself.
    func writeDay(into text: inout JSONText) {
        text.field("start", start.dayText)
        text.field("end", start.dayText)
    }
}

extension UsageReport.Result {
    /// Audio is counted once for all its channels, so that both are the same.
    func writeHours(into text: inout JSONText) {
        text.field("hours", hours: amounts.audio)
        text.field("total_hours", hours: amounts.audio)
        text.field("requests", Int(sessions))
    }

    /// - Parameter groupings: what it is told apart by; the rest is null.
    func writeBreakdown(into text: inout JSONText, of bucket: UsageReport.Bucket, by groupings: Set<ProjectGrouping>) {
        writeHours(into: &text)
        // Of what Deepgram sells and this server does not have there is none.
        for name: StaticString in ["agent_hours", "tokens_in", "tokens_out", "tts_characters"] { text.field(name, 0) }
        text.object("grouping") { text in
            bucket.writeDay(into: &text)
            text.field("accessor", orNull: group[.key])
            text.field("endpoint", orNull: groupings.contains(.endpoint) ? ProjectRoutes.endpoint : nil)
            text.field("feature_set", orNull: String?.none)
            text.field("models", orNull: group[.model].map { [$0] })
            text.field("method", orNull: groupings.contains(.method) ? ProjectRoutes.method : nil)
            text.field("tags", orNull: groupings.contains(.tags) ? group[.tag].map { [$0] } ?? [] : nil)
            text.field("deployment", orNull: groupings.contains(.deployment) ? ProjectRoutes.deployment : nil)
        }
    }
}

extension UsageRow {
    /// Whether it counts as a request that failed.
    var isFailed: Bool { outcome?.state == .failed }

    /// As a request in Deepgram's form. What was said is not in it.
    func writeRequest(into text: inout JSONText) {
        // As HTTP would have said it: a failed session is the server's.
        let code = isFailed ? 500 : 200
        let duration = AudioTime.milliseconds(Int(audioMilliseconds))
        text.field("request_id", session.description)
        text.field("project_uuid", tenant.description)
        text.field("created", Timestamp.format(startedAt))
        text.field("path", ListenAcceptor.path)
        text.field("api_key_id", key.rawValue)
        text.object("response") { text in
            text.object("details") { text in
                text.field("duration", duration)
                text.field("total_audio", duration)
                text.field("channels", channels)
                text.field("streams", 1)
                text.field("models", [model])
                text.field("method", ProjectRoutes.method)
                text.field("tags", tags)
                text.field("features", [String]())
                text.object("config") { text in
                    text.field("model", model)
                    text.field("language", language)
                }
            }
            if isFailed { text.field("message", outcome?.reason ?? "") }
            text.field("code", code)
            text.field("completed", Timestamp.format(endedAt))
        }
        text.field("code", code)
        text.field("deployment", ProjectRoutes.deployment)
        text.field("callback", orNull: String?.none)
    }
}
