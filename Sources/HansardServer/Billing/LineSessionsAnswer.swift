import FoundationEssentials
import Hansard
import Postgres
import Web

/// What a call for the sessions of an invoice's line asks, and what is answered, on both planes.
struct LineSessionsAnswer: Sendable {
    /// Behind an invoice's path. A line is named by its month and its subject: its place among the lines may be another's in the
    /// next preview.
    static let path = "/lines/{for_period}/{line}/sessions"
    /// Sessions of a page: they are small, and a line may have a million.
    static let sizes = 1...1_000
    private static let columns: [String?] = ["session_id", "started_at", "sessions", "raw_ms", "billed_ms"]

    private let match: Route.Match
    private let tenant: TenantID
    private let period: QuotaPeriod?
    private let month: QuotaPeriod?
    private let name: String
    private let page: PageRequest
    private let format: UsageAnswers.Format
    private let secret: [UInt8]

    /// Sessions that are shown.
    var limit: Int { page.limit }
    /// The session behind which the page begins.
    var after: SessionID? { page.after.flatMap { SessionID($0.id) } }

    /// - Parameter secrets: MAC keys of cursors: the first signs, all are accepted.
    /// - Throws: `.invalid` for a parameter that is bad or not known.
    init(_ match: Route.Match, of tenant: TenantID, secrets: [[UInt8]]) throws(HansardError) {
        try match.requireQuery(only: PageRequest.parameters.union(["format"]))
        self.match = match
        self.tenant = tenant
        func month(_ name: String) -> QuotaPeriod? {
            match.segments[name].flatMap(QuotaPeriod.init).flatMap { BillingPeriod.months.contains($0) ? $0 : nil }
        }
        (period, self.month, name) = (month("period"), month("for_period"), match.segments["line"] ?? "")
        format = try match.choice("format", UsageAnswers.Format.self) ?? .json
        let list =
            "line \(tenant) \(period?.description ?? "") \(self.month?.description ?? "") \(name.prefix(64))"
        page = try PageRequest(match, list: list, sizes: Self.sizes, secrets: secrets)
        secret = secrets[0]
    }

    /// The line, with an operator's sight; nil if there is none.
    func line(on connection: Connection, mayPreview: Bool) async throws -> InvoicedLine? {
        guard let period, let month else { return nil }
        return try await connection.invoicedLine(
            of: tenant, in: period, for: month, named: name, mayPreview: mayPreview)
    }

    /// Runs `body`, and tells the caller of what the ledger cannot have.
    static func mappingFaults<Value: Sendable>(
        _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let fault as InvoiceFault {
            throw HansardError(.conflict, "tenant \(fault.tenant): \(fault.reason)")
        }
    }

    func response(_ line: InvoicedLine, _ found: LinePage) -> HTTPResponse {
        let next = found.next.map { Cursor(time: line.period.start, id: "\($0)").text(of: page.list, secret: secret) }
        var response =
            switch format {
            case .csv:
                HTTPResponse.csv(asOf: line.dataAsOf) { text in
                    text.row(Self.columns)
                    for session in found.sessions { text.row(session.cells) }
                }
            case .json:
                HTTPResponse.json { text in
                    text.array("data") { text in
                        for session in found.sessions { text.object { session.write(into: &$0) } }
                    }
                    text.field("has_more", next != nil)
                    text.field("next_cursor", orNull: next)
                    text.field("state", line.state.rawValue)
                    text.field("data_as_of", Timestamp.format(line.dataAsOf))
                }
            }
        if let next { response.headers.add("Link", match.link(toNext: next, "after")) }
        return response
    }
}

extension LineSession {
    fileprivate func write(into text: inout JSONText) {
        text.field("session_id", session.description)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("sessions", sessions)
        text.field("raw_ms", Int(raw))
        text.field("billed_ms", Int(billed))
    }

    fileprivate var cells: [String?] {
        [session.description, Timestamp.format(startedAt), "\(sessions)", "\(raw)", "\(billed)"]
    }
}
