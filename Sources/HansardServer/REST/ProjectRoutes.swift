import FoundationEssentials
import Hansard
import Web

/// Usage in Deepgram's form, as its SDKs read it: a project is a tenant, an accessor a key, a request a session.
///
/// What these calls filter by and this server does not keep is refused: numbers that leave a filter out would be wrong.
struct ProjectRoutes: Sendable {
    static let path = "/v1/projects"
    /// All requests here are of one kind of each.
    static let (endpoint, method, deployment) = ("listen", "streaming", "self-hosted")
    /// Sessions that pages by number reach: a list is read from its beginning.
    static let maximumRequests = 10_000
    static let pageSizes = 1...1_000
    static let pages = 0...maximumRequests
    static let defaultPageSize = 10

    let authenticator: Authenticator
    let reports: any UsageReports
    let history: any SessionHistory

    var routes: [Route] {
        let project = Self.path + "/{project_id}"
        return [
            Route("GET", Self.path, list),
            Route("GET", project, get),
            Route("GET", project + "/usage", usage),
            Route("GET", project + "/usage/breakdown", breakdown),
            Route("GET", project + "/usage/fields", fields),
            Route("GET", project + "/requests", requests),
            Route("GET", project + "/requests/{request_id}", request),
        ]
    }

    // MARK: Projects

    private func list(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try caller(match)
        try match.requireQuery(only: [])
        return .json { text in
            text.array("projects") { $0.object { caller.tenant.writeProject(into: &$0) } }
        }
    }

    private func get(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        // What Deepgram has pages of here there is none of.
        try match.requireQuery(only: ["limit", "page"])
        _ = try (match.wholeNumber("limit", Self.pageSizes), match.wholeNumber("page", Self.pages))
        return .json { tenant.writeProject(into: &$0) }
    }

    private func caller(_ match: Route.Match) throws(HansardError) -> Caller {
        let caller = try authenticator.caller(of: match)
        try caller.require(.usageRead)
        return caller
    }

    /// The caller's own tenant, if the path names it.
    private func project(_ match: Route.Match) throws(HansardError) -> Tenant {
        let tenant = try caller(match).tenant
        guard match.segments["project_id"].flatMap(UUID.init(uuidString:)) == tenant.id.rawValue else {
            throw HansardError(.notFound, "there is no such project")
        }
        return tenant
    }

    // MARK: Usage

    private func usage(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        let filter = try ProjectFilter(match, besides: ["start", "end"])
        let days = try await days(match, tenant.id)
        let report = try await report(tenant.id, days.boundaries, [], filter)
        return HTTPResponse.json { text in
            days.write(into: &text)
            text.array("results") { text in
                for bucket in report.buckets {
                    for result in bucket.results {
                        text.object { text in
                            bucket.writeDay(into: &text)
                            result.writeHours(into: &text)
                            // Older SDKs do not read results without.
                            text.object("tokens") {
                                $0.field("in", 0); $0.field("out", 0)
                            }
                            text.object("tts") {
                                $0.field("characters", 0); $0.field("requests", 0)
                            }
                        }
                    }
                }
            }
        }.known(upTo: report.asOf)
    }

    private func breakdown(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        let filter = try ProjectFilter(match, besides: ["start", "end", "grouping"])
        let groupings = try match.query("grouping").map { text throws(HansardError) in
            try JSONField(value: .string(text), pointer: "grouping").name(ProjectGrouping.self)
        }
        let days = try await days(match, tenant.id)
        let report = try await report(tenant.id, days.boundaries, Set(groupings.compactMap(\.dimension)), filter)
        return HTTPResponse.json { text in
            days.write(into: &text)
            text.array("results") { text in
                for bucket in report.buckets {
                    for result in bucket.results {
                        text.object { result.writeBreakdown(into: &$0, of: bucket, by: Set(groupings)) }
                    }
                }
            }
        }.known(upTo: report.asOf)
    }

    /// What can be filtered by: tags and models that were used.
    private func fields(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        try match.requireQuery(only: ["start", "end"])
        let days = try await days(match, tenant.id)
        // As one bucket.
        let ends = [days.first, days.end]
        let tags = try await report(tenant.id, ends, [.tag], ProjectFilter())
        let models = try await report(tenant.id, ends, [.model, .language], ProjectFilter())
        return HTTPResponse.json { text in
            text.field("tags", tags.buckets.flatMap(\.results).compactMap { $0.group[.tag] })
            text.array("models") { text in
                for result in models.buckets.flatMap(\.results) {
                    text.object { text in
                        text.field("name", result.group[.model] ?? "")
                        text.field("language", result.group[.language] ?? "")
                        text.field("model_id", result.group[.model] ?? "")
                    }
                }
            }
            text.field("processing_methods", [Self.method])
            text.field("features", [String]())
        }.known(upTo: min(tags.asOf, models.asOf))
    }

    private func report(
        _ tenant: TenantID, _ boundaries: [Date], _ dimensions: Set<UsageDimension>, _ filter: ProjectFilter
    ) async throws -> UsageReport {
        guard filter.isOfThisServer else { return UsageReport(buckets: [], asOf: .now) }
        return try await reports.report(
            UsageQuery(
                tenant: tenant, boundaries: boundaries, width: .day, dimensions: dimensions, filter: filter.group))
    }

    /// The days of a call: without a start from the tenant's first use on, without an end to today.
    private func days(_ match: Route.Match, _ tenant: TenantID) async throws -> ProjectDays {
        let today = Date.now
        let last = try match.day("end") ?? today
        var first = try match.day("start")
        if first == nil { first = try await reports.firstHour(of: tenant).map { min($0, last) } }
        return try ProjectDays(from: first ?? min(today, last), through: last)
    }

    // MARK: Requests

    private func requests(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        let known = ["start", "end", "limit", "page", "request_id", "status"]
        let filter = try ProjectFilter(match, besides: known, hasLabels: false)
        let limit = try match.wholeNumber("limit", Self.pageSizes) ?? Self.defaultPageSize
        let page = try match.wholeNumber("page", Self.pages) ?? 0
        guard (page + 1) * limit <= Self.maximumRequests else {
            throw HansardError(
                .invalid,
                "pages reach the newest \(Self.maximumRequests) requests: ask for a lower page, or an earlier end",
                field: "page")
        }
        var sessions = SessionFilter()
        sessions.key = filter.group[.key].map { KeyID($0) }
        sessions.startedFrom = try match.moment("start")
        sessions.startedBefore = try match.moment("end", isEnd: true)
        if let start = sessions.startedFrom, let end = sessions.startedBefore, end < start {
            throw HansardError(.invalid, "end must not be before start", field: "end")
        }
        let status = try match.choice("status", RequestStatus.self)
        let session = try match.value("request_id")
        var rows: [UsageRow] = []
        if filter.isOfThisServer, let session {
            rows = try await one(session, tenant.id, sessions, status)
        } else if filter.isOfThisServer {
            rows = try await newest((page + 1) * limit, tenant.id, sessions, status)
        }
        return .json { text in
            text.field("page", page)
            text.field("limit", limit)
            text.array("requests") { text in
                for row in rows.dropFirst(page * limit).prefix(limit) { text.object { row.writeRequest(into: &$0) } }
            }
        }
    }

    /// The newest past sessions: those of each state that fits, together.
    private func newest(
        _ count: Int, _ tenant: TenantID, _ filter: SessionFilter, _ status: RequestStatus?
    ) async throws -> [UsageRow] {
        var rows: [UsageRow] = []
        for state in status?.states ?? [.past] {
            var filter = filter
            filter.status = state
            rows += try await history.past(.own(tenant), filter, before: nil, limit: count)
        }
        return Array(rows.sorted { $0.session > $1.session }.prefix(count))
    }

    private func one(
        _ text: String, _ tenant: TenantID, _ filter: SessionFilter, _ status: RequestStatus?
    ) async throws -> [UsageRow] {
        guard let session = SessionID(text) else {
            throw HansardError(.invalid, "request_id must be a request's id", field: "request_id")
        }
        guard let row = try await history.past(session, .own(tenant)),
            filter.key.map({ $0 == row.key }) ?? true, status.map({ ($0 == .failed) == row.isFailed }) ?? true,
            filter.startedFrom.map({ session >= SessionID(firstFrom: $0) }) ?? true,
            filter.startedBefore.map({ session < SessionID(firstFrom: $0) }) ?? true
        else { return [] }
        return [row]
    }

    private func request(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try project(match)
        try match.requireQuery(only: [])
        guard let session = match.segments["request_id"].flatMap(SessionID.init),
            let row = try await history.past(session, .own(tenant.id))
        else { throw HansardError(.notFound, "there is no such request") }
        return .json { text in text.object("request") { row.writeRequest(into: &$0) } }
    }
}
