import FoundationEssentials
import Hansard
import Web

/// What both planes say of usage.
struct UsageAnswers: Sendable {
    /// The form of an answer.
    enum Format: String, CaseIterable {
        case json, csv
    }

    /// Parameters that choose what is counted.
    static let filters = Set(UsageDimension.allCases.map(\.rawValue))
    /// Two names for one thing: the one of OpenAI's usage API, and the one without brackets.
    static let groupings = ["group_by[]", "group_by"]
    /// Characters of what a client said of its session.
    static let textLength = 1...256
    /// Days from the start to the end of a list of sessions.
    static let maximumSessionDays = 366

    let reports: any UsageReports
    /// MAC keys of cursors: the first signs, all are accepted.
    let secrets: [[UInt8]]

    // MARK: By time

    /// One page of buckets.
    func report(_ match: Route.Match, of tenant: TenantID, now: Date) async throws -> HTTPResponse {
        try match.requireQuery(
            only: Self.filters.union(Self.groupings)
                .union(["start_time", "end_time", "bucket_width", "limit", "page", "format"]))
        let width = try match.choice("bucket_width", BucketWidth.self) ?? .day
        let format = try match.choice("format", Format.self) ?? .json
        let limit = try match.number("limit", 1...width.maximumBuckets) ?? width.defaultBuckets
        let dimensions = try Self.dimensions(match)
        // Of another range, tenant or question it would leave something out.
        let list = "usage \(tenant) \(match.question(besides: ["page", "limit", "format"]))"
        let page = try match.value("page").map { text throws(HansardError) in
            try Cursor(text, of: list, secrets: secrets, parameter: "page", answer: "next_page")
        }
        // All pages end where the first one said, if nobody says where.
        let end = try match.time("end_time") ?? page.flatMap { Double($0.id) }.map(Date.init(timeIntervalSince1970:))
        let range = try UsageRange(from: Self.start(match), to: end, by: width, now: now)
        let first = page?.time ?? range.start
        guard first == range.start || first > range.start && first < range.end else {
            throw HansardError(
                .invalid, "page is of another range: leave it out, or ask for the same start_time and end_time",
                field: "page")
        }
        let boundaries = range.boundaries(from: first, atMost: limit)
        let report = try await reports.report(
            UsageQuery(
                tenant: tenant, boundaries: boundaries, width: width, dimensions: dimensions, filter: Self.filter(match)
            ))
        let next = boundaries.last.flatMap { last in
            last == range.end
                ? nil
                : Cursor(time: last, id: "\(Int(range.end.timeIntervalSince1970))").text(of: list, secret: secrets[0])
        }
        let shown = UsageDimension.allCases.filter(dimensions.contains)
        var response = format == .csv ? report.csv(shown) : report.json(shown, next: next)
        if let next { response.headers.add("Link", match.link(toNext: next, "page")) }
        return response
    }

    private static func start(_ match: Route.Match) throws(HansardError) -> Date {
        guard let start = try match.time("start_time") else {
            throw HansardError(
                .invalid, "start_time is required: \(Timestamp.expected)", field: "start_time")
        }
        return start
    }

    private static func dimensions(_ match: Route.Match) throws(HansardError) -> Set<UsageDimension> {
        var dimensions: Set<UsageDimension> = []
        for name in groupings {
            for text in match.query(name) {
                dimensions.insert(try JSONField(value: .string(text), pointer: name).name(UsageDimension.self))
            }
        }
        return dimensions
    }

    private static func filter(_ match: Route.Match) throws(HansardError) -> UsageGroup {
        var filter = UsageGroup()
        for dimension in UsageDimension.allCases {
            filter[dimension] =
                dimension == .engine
                ? try match.choice("engine", ReportedEngine.self)?.rawValue
                : try match.text(dimension.rawValue, textLength)
        }
        return filter
    }

    // MARK: By session

    /// One page of sessions.
    func sessions(_ match: Route.Match, of tenant: TenantID, now: Date) async throws -> HTTPResponse {
        try match.requireQuery(
            only: Self.filters.union(PageRequest.parameters).union(["start_time", "end_time", "format"]))
        let format = try match.choice("format", Format.self) ?? .json
        let page = try PageRequest(match, list: "usage sessions", secrets: secrets)
        let (start, end) = (try Self.start(match), try match.time("end_time") ?? now)
        guard start < end else {
            throw HansardError(
                .invalid, "end_time, now if it is left out, must be after start_time", field: "end_time")
        }
        guard end.timeIntervalSince(start) <= Double(Self.maximumSessionDays) * 86_400 else {
            throw HansardError(
                .invalid, "end_time must be at most \(Self.maximumSessionDays) days after start_time", field: "end_time"
            )
        }
        let (found, asOf) = try await reports.sessions(
            of: tenant, startedIn: start..<end, try Self.filter(match),
            before: page.after.flatMap { SessionID($0.id) }, limit: page.rows)
        let cursor = { (session: SessionUsage) in
            Cursor(time: session.first.sessionStartedAt, id: session.first.session.description)
        }
        guard format == .csv else {
            return page.response(found, match, secret: secrets[0], cursor: cursor) { text in
                text.field("data_as_of", Timestamp.format(asOf))
            } write: {
                $0.write(into: &$1)
            }
        }
        var response = HTTPResponse.csv(asOf: asOf) { text in
            text.row(SessionUsage.columns)
            for session in found.prefix(page.limit) { text.row(session.cells) }
        }
        if let next = page.next(after: found, secret: secrets[0], cursor: cursor) {
            response.headers.add("Link", match.link(toNext: next, "after"))
        }
        return response
    }
}

/// What usage has as its engine: one of a server's, or that it is not known which.
private struct ReportedEngine: RawRepresentable, CaseIterable {
    static let allCases = (EngineChoice.allCases.map(\.rawValue) + [UsageRecord.unknown]).map(Self.init(known:))

    let rawValue: String

    private init(known name: String) { rawValue = name }

    init?(rawValue: String) {
        guard Self.allCases.contains(where: { $0.rawValue == rawValue }) else { return nil }
        self.init(known: rawValue)
    }
}

extension HTTPResponse {
    /// Says in the header up to when usage is known, where the body has no place for it.
    func known(upTo asOf: Date) -> HTTPResponse {
        var response = self
        response.headers.add("Data-As-Of", Timestamp.format(asOf))
        return response
    }

    static func csv(asOf: Date, _ write: (inout CSVText) -> Void) -> HTTPResponse {
        var text = CSVText()
        write(&text)
        return HTTPResponse(
            status: 200, headers: ["Content-Type": "text/csv; charset=utf-8"], body: text.bytes
        ).known(upTo: asOf)
    }
}

extension Route.Match {
    /// What is asked, in one form, whatever the order of the parameters.
    fileprivate func question(besides ignored: Set<String>) -> String {
        request.query.split(separator: "&").filter { part in
            !ignored.contains(String(part.prefix { $0 != "=" }))
        }.sorted().joined(separator: "&")
    }
}

extension UsageReport {
    fileprivate func json(_ dimensions: [UsageDimension], next: String?) -> HTTPResponse {
        .json { text in
            text.array("data") { text in
                for bucket in buckets {
                    text.object { text in
                        text.field("start_time", Timestamp.format(bucket.start))
                        text.field("end_time", Timestamp.format(bucket.end))
                        text.array("results") { text in
                            for result in bucket.results { text.object { result.write(into: &$0, dimensions) } }
                        }
                    }
                }
            }
            text.field("has_more", next != nil)
            text.field("next_page", orNull: next)
            text.field("data_as_of", Timestamp.format(asOf))
        }
    }

    fileprivate func csv(_ dimensions: [UsageDimension]) -> HTTPResponse {
        .csv(asOf: asOf) { text in
            text.row(
                ["start_time", "end_time"] + dimensions.map(\.rawValue)
                    + ["audio_ms", "connected_ms", "engine_ms", "sessions"])
            for bucket in buckets {
                for result in bucket.results {
                    text.row(
                        [Timestamp.format(bucket.start), Timestamp.format(bucket.end)]
                            + dimensions.map { result.group[$0] } + result.amounts.cells + ["\(result.sessions)"])
                }
            }
        }
    }
}

extension UsageReport.Result {
    fileprivate func write(into text: inout JSONText, _ dimensions: [UsageDimension]) {
        amounts.write(into: &text)
        text.field("sessions", Int(sessions))
        for dimension in dimensions { text.field(dynamic: dimension.rawValue, orNull: group[dimension]) }
    }
}

extension UsageCounters {
    fileprivate func write(into text: inout JSONText) {
        text.field("audio_ms", Int(audio))
        text.field("connected_ms", Int(connected))
        text.field("engine_ms", Int(engine))
    }

    fileprivate var cells: [String?] { ["\(audio)", "\(connected)", "\(engine)"] }
}

extension SessionUsage {
    fileprivate func write(into text: inout JSONText) {
        text.field("session_id", first.session.description)
        text.field("started_at", Timestamp.format(first.sessionStartedAt))
        for dimension in Self.dimensions { text.field(dynamic: dimension.rawValue, orNull: first.group[dimension]) }
        text.field("tags", first.tags)
        text.field("channels", channels)
        amounts.write(into: &text)
        text.field("segments", segments)
        text.field("is_final", isFinal)
        text.field("periods", periods.map(\.description))
    }

    private static var dimensions: [UsageDimension] { UsageDimension.allCases.filter { $0 != .tag } }

    fileprivate static var columns: [String?] {
        ["session_id", "started_at"] + dimensions.map(\.rawValue)
            + ["tags", "channels", "audio_ms", "connected_ms", "engine_ms", "segments", "is_final", "periods"]
    }

    /// Labels are a JSON array, since one may hold whatever would divide them.
    fileprivate var cells: [String?] {
        var labels = JSONText()
        labels.texts(first.tags)
        return [first.session.description, Timestamp.format(first.sessionStartedAt)]
            + Self.dimensions.map { first.group[$0] } + [String(decoding: labels.bytes, as: UTF8.self), "\(channels)"]
            + amounts.cells
            + ["\(segments)", "\(isFinal)", periods.map(\.description).joined(separator: " ")]
    }
}
