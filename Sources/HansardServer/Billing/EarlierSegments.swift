import FoundationEssentials
import Hansard
import Postgres

/// What sessions of a tenant had before a month, by their segments of earlier months.
struct EarlierSegments {
    /// Where a segment begins, in milliseconds of its session: that is written once, and late records change it no more.
    private struct Beginning {
        var engine: String
        var audio: Int64
        var connected: Int64
    }

    let tenant: TenantID
    /// Those of each session in their order.
    private var sessions: [UUID: [Beginning]] = [:]

    init(of tenant: TenantID) { self.tenant = tenant }

    mutating func add(_ row: Row) throws {
        let beginning = Beginning(
            engine: try row.value("engine"), audio: try row.value("audio_before_ms"),
            connected: try row.value("connected_before_ms"))
        sessions[try row.value("session_id"), default: []].append(beginning)
    }

    /// What a session had up to where a segment begins. Each of its earlier segments had what lies between its own beginning and
    /// the next one's: not its total, which late records raise. What lies before them all is as of the segment's engine.
    func times(of session: UUID, before segment: (engine: String, audio: Int64, connected: Int64)) -> [EarlierTime] {
        var (audio, connected): (Int64, Int64) = (segment.audio, segment.connected)
        var times: [EarlierTime] = []
        func add(_ engine: String, from begin: (audio: Int64, connected: Int64)) {
            guard begin.audio < audio || begin.connected < connected else { return }
            times.append(
                EarlierTime(engine: engine, audio: audio - begin.audio, connected: connected - begin.connected))
            (audio, connected) = begin
        }
        for earlier in (sessions[session] ?? []).reversed() {
            add(earlier.engine, from: (min(earlier.audio, audio), min(earlier.connected, connected)))
        }
        add(segment.engine, from: (0, 0))
        return times
    }
}

extension Connection {
    /// What a segment may have, in milliseconds, so that whatever the tables hold can be added up.
    private static let segmentTimes: ClosedRange<Int64> = 0...1_000_000_000_000
    /// By how much a session's beginning may be wrong, in seconds: times of a spool may have been rounded.
    private static let rounding = 1.0

    /// The segments of earlier months of those sessions in a page of a month's segments that began before the month: few, in most
    /// pages none.
    ///
    /// What an invoice is made by stays, so that it can be rated again as it was. A segment is not among them if it came after the
    /// first invoice that has the session's time of this month: if there is an invoice from that one on, and before the one by
    /// which late usage has the segment.
    func earlierSegments(of tenant: TenantID, in period: QuotaPeriod, beside rows: [Row]) throws -> EarlierSegments {
        var earlier = EarlierSegments(of: tenant)
        var (crossing, start): ([UUID], Date) = ([], period.start)
        for row in rows where try row.value("segment", as: Int.self) > 0 {
            let session: UUID = try row.value("session_id")
            let began: Date = try row.value("session_started_at")
            guard session != crossing.last, began < period.start + Self.rounding else { continue }
            crossing.append(session)
            start = min(start, began - Self.rounding)
        }
        guard !crossing.isEmpty else { return earlier }
        let (tenant, month, first) = (tenant.rawValue, period.firstDay, QuotaPeriod(start).firstDay)
        let found = try query(
            """
            SELECT e.session_id, e.engine, e.audio_before_ms, e.connected_before_ms FROM usage_segments AS e
            WHERE e.tenant_id = \(tenant) AND e.session_id = ANY (\(crossing)::uuid[])
                AND e.period >= \(first)::date AND e.period < \(month)::date AND e.segment < \(UsageRecord.surplusSegment)
                AND NOT EXISTS (
                    SELECT FROM late_usage AS l JOIN invoices AS i USING (tenant_id)
                    WHERE l.tenant_id = e.tenant_id AND l.period = e.period AND l.session_id = e.session_id
                        AND l.segment = e.segment AND l.audio_ms IS NULL
                        AND (i.period < l.billed_in OR l.billed_in IS NULL)
                        AND i.period >= (
                            SELECT min(CASE WHEN n.place IS NULL THEN \(period.description) ELSE coalesce(n.billed_in, 'none') END
                                COLLATE "C")
                            FROM usage_segments AS s LEFT JOIN late_usage AS n
                                ON n.tenant_id = s.tenant_id AND n.period = s.period AND n.session_id = s.session_id
                                    AND n.segment = s.segment AND n.audio_ms IS NULL
                            WHERE s.tenant_id = e.tenant_id AND s.session_id = e.session_id AND s.period = \(month)::date))
            ORDER BY e.session_id, e.segment
            """)
        for row in found { try earlier.add(row) }
        return earlier
    }

    /// The time of a segment; nil if it was not there yet.
    ///
    /// - Parameters:
    ///   - column: of its milliseconds.
    ///   - beginning: the column that says whether the session is counted with it.
    func billableTime(
        _ row: Row, _ column: String = "billable_ms", _ beginning: String = "is_beginning",
        after earlier: EarlierSegments
    ) throws -> BillableTime? {
        guard let own = try row.value(column, as: Int64?.self) else { return nil }
        let (session, segment): (UUID, Int) = (try row.value("session_id"), try row.value("segment"))
        let engine: String = try row.value("engine")
        let before: (Int64, Int64) =
            segment == 0 ? (0, 0) : (try row.value("audio_before_ms"), try row.value("connected_before_ms"))
        guard Self.segmentTimes ~= before.0, Self.segmentTimes ~= before.1, Self.segmentTimes ~= own else {
            throw InvoiceFault(
                tenant: earlier.tenant,
                reason: "session \(SessionID(session)), segment \(segment), has \(own) ms, which none has")
        }
        return BillableTime(
            session: SessionID(session), engine: engine, language: try row.value("language"),
            isBeginning: try row.value(beginning),
            earlier: segment == 0 ? [] : earlier.times(of: session, before: (engine, before.0, before.1)),
            milliseconds: own)
    }
}
