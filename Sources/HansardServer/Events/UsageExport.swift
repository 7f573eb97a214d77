import FoundationEssentials
public import Hansard
public import Postgres

/// Writes out what the ledger has of a month, as it is at one moment, for programs that bill.
///
/// Rows come from the database by the thousand, so that memory does not depend on how many there are.
public struct UsageExport: Sendable {
    /// What is written.
    public enum Format: String, Sendable, CaseIterable {
        /// Segments of sessions, with all their labels, as a table.
        case csv
        /// The same, a JSON object on each line.
        case jsonl
        /// What segments used in each hour, a CloudEvent on each line.
        case cloudevents
    }

    private let pool: ConnectionPool
    private let period: QuotaPeriod
    private let tenant: TenantID?
    private let source: String

    /// - Parameters:
    ///   - url: of a login that nodes or the tables' owner have.
    ///   - tenant: nil is all.
    ///   - source: of the events.
    public init(_ url: DatabaseURL, period: QuotaPeriod, tenant: TenantID?, source: String) {
        var options = ConnectionPool.Options()
        options.connections = 1
        // It reads all of a month.
        options.connection.statementTimeout = nil
        options.connection.applicationName = "hansard usage export"
        pool = ConnectionPool(url, options: options)
        self.period = period
        self.tenant = tenant
        self.source = source
    }

    /// Writes everything to `output`, a page at a time.
    ///
    /// - Throws: `HansardError` if it cannot be read; what `output` throws.
    public func write(_ format: Format, to output: @escaping @Sendable ([UInt8]) throws -> Void) async throws {
        do {
            switch format {
            case .csv:
                var header = CSVText()
                header.row(ExportedSegment.columns)
                try output(header.bytes)
                try await forEachPage(of: segments) { rows in
                    var text = CSVText()
                    for row in rows { text.row(try ExportedSegment(row: row).cells) }
                    try output(text.bytes)
                }
            case .jsonl:
                try await forEachPage(of: segments) { rows in
                    try output(try rows.flatMap { try ExportedSegment(row: $0).json + [UInt8(ascii: "\n")] })
                }
            case .cloudevents:
                try await forEachPage(of: events) { [source] rows in
                    try output(
                        try rows.flatMap { try UsageEvent(row: $0).cloudEvent(source: source) + [UInt8(ascii: "\n")] })
                }
            }
            await pool.close()
        } catch {
            await pool.close()
            throw error
        }
    }

    /// - Parameter query: declares the cursor `usage_export`.
    private func forEachPage(of query: Query, _ body: @escaping @Sendable ([Row]) throws -> Void) async throws {
        try await pool.asOperator(isolation: .repeatableReadOnly) { connection in
            try await connection.query("SELECT set_config('jit', 'off', true)")
            try await connection.execute(query)
            while true {
                let rows = try await connection.query("FETCH 1000 FROM usage_export")
                if rows.isEmpty { return }
                try body(rows)
            }
        }
    }

    private var segments: Query {
        """
        DECLARE usage_export NO SCROLL CURSOR FOR
        SELECT tenant_id, session_id, segment, to_char(period, 'YYYY-MM') AS period, session_started_at, started_at, last_at,
            key_id, engine, model, language, region, tags, channels, audio_ms, connected_ms, engine_ms, is_final,
            (segment = 0 OR begins)::integer AS sessions
        FROM usage_segments
        WHERE period = \(period.firstDay)::date AND (\(tenant?.rawValue)::uuid IS NULL OR tenant_id = \(tenant?.rawValue)::uuid)
            AND (segment < \(UsageRecord.surplusSegment) OR audio_ms > 0 OR begins)
        ORDER BY tenant_id, session_id, segment
        """
    }

    /// The outbox, as it is; and of hours that were before it, or that it does not know any more, the whole as it would have
    /// been told at once. What the outbox is yet to have of later hours is left out: it may be something else when it is made,
    /// by the same name.
    private var events: Query {
        let (start, end, tenant) = (period.start, period.end, tenant?.rawValue)
        let slack = UsageEventDelivery.slack / .seconds(1)
        return """
            DECLARE usage_export NO SCROLL CURSOR FOR
            WITH scope AS MATERIALIZED (
                SELECT coalesce((SELECT first_hour FROM usage_event_delivery), 'infinity') AS first_hour
            ), touched AS (
                SELECT DISTINCT m.tenant_id, m.hour FROM usage_marks AS m
                WHERE m.period = \(period.firstDay)::date AND (\(tenant)::uuid IS NULL OR m.tenant_id = \(tenant)::uuid)
            )
            SELECT e.tenant_id, e.session_id, e.segment, e.hour, e.revision, e.used_until, e.audio_ms, e.connected_ms,
                e.engine_ms, e.sessions, e.key_id, e.engine, e.model, e.language, e.region, e.tags, e.channels
            FROM scope CROSS JOIN usage_events AS e
            WHERE e.hour >= scope.first_hour AND e.hour >= \(start) AND e.hour < \(end)
                AND (\(tenant)::uuid IS NULL OR e.tenant_id = \(tenant)::uuid)
            UNION ALL
            SELECT t.tenant_id, u.session_id, u.segment, u.hour, 1, u.used_until, u.audio_ms, u.connected_ms,
                u.engine_ms, u.sessions, u.key_id, u.engine, u.model, u.language, u.region, u.tags, u.channels
            FROM scope CROSS JOIN touched AS t
            CROSS JOIN LATERAL usage_of_segments(t.tenant_id, t.hour, t.hour + interval '1 hour') AS u
            WHERE t.hour < scope.first_hour
                AND (u.is_final OR t.hour + interval '1 hour' + make_interval(secs => \(slack)) <= now())
                AND (u.audio_ms, u.connected_ms, u.engine_ms, u.sessions) <> (0, 0, 0, 0)
            """
    }
}

/// A segment with all that is known of it.
private struct ExportedSegment {
    let texts: [(name: StaticString, value: String?)]
    let tags: [String]
    let numbers: [(name: StaticString, value: Int)]
    let isFinal: Bool

    init(row: Row) throws {
        func time(_ column: String) throws -> String { Timestamp.format(try row.value(column)) }
        texts = [
            ("tenant_id", TenantID(try row.value("tenant_id")).description),
            ("session_id", SessionID(try row.value("session_id")).description), ("period", try row.value("period")),
            ("session_started_at", try time("session_started_at")), ("started_at", try time("started_at")),
            ("last_at", try time("last_at")), ("key_id", try row.value("key_id")), ("engine", try row.value("engine")),
            ("model", try row.value("model")), ("language", try row.value("language")),
            ("region", try row.value("region")),
        ]
        tags = try row.value("tags")
        numbers = [
            ("segment", try row.value("segment")), ("channels", try row.value("channels")),
            ("audio_ms", try row.value("audio_ms")),
            ("connected_ms", try row.value("connected_ms")), ("engine_ms", try row.value("engine_ms")),
            ("sessions", try row.value("sessions")),
        ]
        isFinal = try row.value("is_final")
    }

    static let columns: [String?] = [
        "tenant_id", "session_id", "period", "session_started_at", "started_at", "last_at", "key_id", "engine", "model",
        "language", "region", "tags", "segment", "channels", "audio_ms", "connected_ms", "engine_ms", "sessions",
        "is_final",
    ]

    /// Labels are a JSON array, since one may hold whatever would divide them.
    var cells: [String?] {
        var labels = JSONText()
        labels.texts(tags)
        var cells = texts.map(\.value)
        cells.append(String(decoding: labels.bytes, as: UTF8.self))
        for number in numbers { cells.append("\(number.value)") }
        cells.append("\(isFinal)")
        return cells
    }

    var json: [UInt8] {
        var text = JSONText()
        text.object { text in
            for field in texts { text.field(field.name, orNull: field.value) }
            text.field("tags", tags)
            for field in numbers { text.field(field.name, field.value) }
            text.field("is_final", isFinal)
        }
        return text.bytes
    }
}
