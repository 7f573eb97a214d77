import EventLoops
import Hansard
import Synchronization

/// The node's own numbers, as Prometheus reads them (text exposition format 0.0.4). Counters are atomics: any thread
/// adds without waiting.
final class Metrics: Sendable {
    /// A number that only grows.
    final class Counter: Sendable {
        private let number = Atomic<Int>(0)
        /// Adds to it. Any thread.
        func add(_ amount: Int = 1) { number.add(amount, ordering: .relaxed) }
        /// What it says now.
        var value: Int { number.load(ordering: .relaxed) }
    }

    /// How many observations were at most so long.
    final class Histogram: Sendable {
        /// Upper bounds in milliseconds; one more bucket takes the rest.
        static let bounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
        private let state = Locked((buckets: [Int](repeating: 0, count: bounds.count + 1), microseconds: Int64(0)))

        /// Takes one observation. Any thread.
        func observe(_ duration: Duration) {
            let microseconds =
                duration.components.seconds * 1_000_000 + duration.components.attoseconds / 1_000_000_000_000
            let bucket = Self.bounds.firstIndex { microseconds <= Int64($0) * 1_000 } ?? Self.bounds.count
            state.withLock { state in
                state.buckets[bucket] += 1
                state.microseconds += microseconds
            }
        }

        /// Observations so far.
        var count: Int { state.withLock { $0.buckets.reduce(0, +) } }

        func lines(_ name: String) -> [String] {
            let (buckets, microseconds) = state.withLock { $0 }
            var total = 0
            var lines: [String] = []
            for (bound, count) in zip(Self.bounds, buckets) {
                total += count
                lines.append("\(name)_bucket{le=\"\(Double(bound) / 1_000)\"} \(total)")
            }
            total += buckets[Self.bounds.count]
            return lines + [
                "\(name)_bucket{le=\"+Inf\"} \(total)", "\(name)_sum \(Double(microseconds) / 1_000_000)",
                "\(name)_count \(total)",
            ]
        }
    }

    /// Sessions that went live.
    let sessionsStarted = Counter()
    /// Sessions by their end state.
    let sessionsCompleted = Counter()
    /// See `sessionsCompleted`.
    let sessionsInterrupted = Counter()
    /// See `sessionsCompleted`.
    let sessionsFailed = Counter()
    /// See `sessionsCompleted`.
    let sessionsTerminated = Counter()
    /// Handshakes refused, by the status that said so.
    let handshakesRefused = [400, 401, 402, 403, 404, 409, 429, 500, 503].map { (status: $0, count: Counter()) }
    /// Credentials not accepted, at handshakes and REST calls alike, by what was the matter with them.
    let credentialsRefused = CredentialFault.allCases.map { (fault: $0, count: Counter()) }
    /// REST calls refused by a limit of requests, by whose.
    let requestsLimited = RequestLimits.Policy.allCases.map { (policy: $0, count: Counter()) }
    /// Sessions that went live without a slot.
    let sessionsUnclaimed = Counter()
    /// Claims refused after the 101.
    let claimsRefused = Counter()
    /// Sessions that went on with their second engine.
    let engineFallbacks = Counter()
    /// Audio admitted, in milliseconds.
    let audioMilliseconds = Counter()
    /// Binary messages admitted.
    let audioMessages = Counter()
    /// Interim results sent.
    let interimResults = Counter()
    /// Finals sent.
    let finalResults = Counter()
    /// Interim results left out because the client did not keep up.
    let interimResultsSkipped = Counter()
    /// Text messages that were not of the protocol.
    let unknownMessages = Counter()
    /// From a session's first audio to its first result, whatever of it was silence.
    let firstResultLatency = Histogram()
    /// From `CloseStream` to everything final having been sent.
    let closeLatency = Histogram()
    /// From the 101 to the answer of the claim.
    let claimLatency = Histogram()
    /// From giving a final to the spool until it may be sent.
    let spoolLatency = Histogram()
    /// Transcripts that had to wait on disk.
    let transcriptsWaiting = Counter()
    /// Leases of dead nodes that this node freed.
    let leasesReaped = Counter()
    /// What the audit of the connection store put right.
    let auditRepairs = Counter()
    /// Sessions that were found to hold no slot.
    let leasesLost = Counter()
    /// Items of the connection store that could not be read.
    let unreadableItems = Counter()
    /// Rows that this node took out of Postgres because nobody needs them any more.
    let rowsPruned = RowPruning.tables.map { (table: $0, count: Counter()) }
    /// Heads of the audit log's chains that this node kept outside the database.
    let auditHeadsKept = Counter()
    /// Looks at a chain of the audit log that found it not to be what it was when a head was kept.
    let auditDifferences = Counter()
    /// Usage events that this node's requests brought to their receiver.
    let eventsDelivered = Counter()
    /// Usage events that the receiver would not take.
    let eventsRefused = Counter()
    /// Requests with usage events that failed, and are made again.
    let eventDeliveriesFailed = Counter()
    /// REST requests answered.
    let requests = Counter()

    /// All zero.
    init() {}

    /// Counts a session's end.
    func ended(_ state: SessionState) {
        switch state {
        case .completed: sessionsCompleted.add()
        case .interrupted: sessionsInterrupted.add()
        case .failed: sessionsFailed.add()
        case .active, .detached, .storing, .terminated: sessionsTerminated.add()
        }
    }

    /// Counts a refused handshake.
    func refused(_ status: Int) { handshakesRefused.first { $0.status == status }?.count.add() }

    /// Counts a credential that was not accepted, if that was the matter.
    func refusedCredential(_ fault: CredentialFault?) { credentialsRefused.first { $0.fault == fault }?.count.add() }

    /// Counts a REST call that a limit of requests refused.
    func limited(_ policy: RequestLimits.Policy) { requestsLimited.first { $0.policy == policy }?.count.add() }

    /// Counts rows that were pruned.
    func pruned(_ rows: Int, of table: String) { rowsPruned.first { $0.table == table }?.count.add(rows) }

    /// A value read at the moment of the scrape.
    struct Gauge: Sendable {
        var name: String
        var help: String
        var value: Double
        var isCounter = false
        /// Tell apart samples of one name.
        var labels: [(String, String)] = []

        var sample: String {
            let list = labels.map { "\($0.0)=\"\($0.1)\"" }.joined(separator: ",")
            return list.isEmpty ? "\(name) \(value)" : "\(name){\(list)} \(value)"
        }
    }

    /// The whole page.
    func page(_ gauges: [Gauge]) -> String {
        var page = Exposition()
        addTraffic(to: &page)
        addUpkeep(to: &page)
        let histograms = [
            ("hansard_first_result_seconds", "From a session's first audio to its first result.", firstResultLatency),
            ("hansard_close_seconds", "From CloseStream to everything final having been sent.", closeLatency),
            ("hansard_claim_seconds", "From the 101 to the claim's answer.", claimLatency),
            ("hansard_spool_seconds", "From a final to its being in the spool.", spoolLatency),
        ]
        for (name, help, histogram) in histograms { page.family(name, "histogram", help, histogram.lines(name)) }
        // Samples of one name belong together, under one description.
        var names: Set<String> = []
        for gauge in gauges where names.insert(gauge.name).inserted {
            let samples = gauges.filter { $0.name == gauge.name }.map(\.sample)
            page.family(gauge.name, gauge.isCounter ? "counter" : "gauge", gauge.help, samples)
        }
        return page.lines.joined(separator: "\n") + "\n"
    }

    /// What clients did and were sent.
    private func addTraffic(to page: inout Exposition) {
        page.counter("hansard_sessions_started_total", "Sessions that went live.", sessionsStarted)
        let ends = [
            ("completed", sessionsCompleted), ("interrupted", sessionsInterrupted), ("failed", sessionsFailed),
            ("terminated", sessionsTerminated),
        ]
        page.family(
            "hansard_sessions_ended_total", "counter", "Sessions by their end state.",
            ends.map { "hansard_sessions_ended_total{state=\"\($0.0)\"} \($0.1.value)" })
        page.counters(
            "hansard_handshakes_refused_total", "Handshakes refused, by HTTP status.", by: "status",
            handshakesRefused.map { ("\($0.status)", $0.count) })
        page.counters(
            "hansard_credentials_refused_total", "Credentials not accepted, by what was the matter.", by: "kind",
            credentialsRefused.map { ($0.fault.rawValue, $0.count) })
        page.counters(
            "hansard_requests_limited_total", "REST calls refused by a limit of requests, by whose.", by: "policy",
            requestsLimited.map { ($0.policy.rawValue, $0.count) })
        page.counter("hansard_sessions_unclaimed_total", "Sessions that went live without a slot.", sessionsUnclaimed)
        page.counter("hansard_claims_refused_total", "Sessions refused by a limit after the 101.", claimsRefused)
        page.family(
            "hansard_audio_seconds_total", "counter", "Audio admitted.",
            ["hansard_audio_seconds_total \(Double(audioMilliseconds.value) / 1_000)"])
        page.counter(
            "hansard_engine_fallbacks_total", "Sessions that went on with their second engine.", engineFallbacks)
        page.counter("hansard_audio_messages_total", "Binary messages admitted.", audioMessages)
        page.family(
            "hansard_results_total", "counter", "Results sent to clients.",
            [
                "hansard_results_total{kind=\"interim\"} \(interimResults.value)",
                "hansard_results_total{kind=\"final\"} \(finalResults.value)",
            ])
        page.counter(
            "hansard_interim_results_skipped_total", "Interim results left out for slow readers.", interimResultsSkipped
        )
        page.counter(
            "hansard_unknown_messages_total", "Client text messages that are not of the protocol.", unknownMessages)
    }

    /// What the node did for its stores.
    private func addUpkeep(to page: inout Exposition) {
        page.counter("hansard_transcripts_waited_total", "Transcripts that had to wait on disk.", transcriptsWaiting)
        page.counter("hansard_leases_reaped_total", "Leases of dead nodes freed by this node.", leasesReaped)
        page.counter("hansard_audit_repairs_total", "Slots and counters that the audit put right.", auditRepairs)
        page.counter("hansard_leases_lost_total", "Sessions that were found to hold no slot.", leasesLost)
        page.counter(
            "hansard_unreadable_items_total", "Items of the connection store that could not be read.", unreadableItems)
        page.counter(
            "hansard_audit_heads_kept_total", "Heads of audit chains kept outside the database.", auditHeadsKept)
        page.counter(
            "hansard_audit_differences_total", "Audit chains found to differ from a head that was kept.",
            auditDifferences)
        page.counters(
            "hansard_rows_pruned_total", "Old rows that this node took out of Postgres, by table.", by: "table",
            rowsPruned.map { ($0.table, $0.count) })
        page.counter(
            "hansard_usage_events_delivered_total", "Usage events that this node brought to their receiver.",
            eventsDelivered)
        page.counter(
            "hansard_usage_events_refused_total", "Usage events that their receiver will not take.", eventsRefused)
        page.counter(
            "hansard_usage_events_failures_total", "Requests with usage events that failed and are made again.",
            eventDeliveriesFailed)
        page.counter("hansard_http_requests_total", "REST requests answered.", requests)
    }
}

/// A page of metrics as it grows.
private struct Exposition {
    private(set) var lines: [String] = []

    mutating func family(_ name: String, _ kind: String, _ help: String, _ samples: [String]) {
        lines += ["# HELP \(name) \(help)", "# TYPE \(name) \(kind)"] + samples
    }

    mutating func counter(_ name: String, _ help: String, _ counter: Metrics.Counter) {
        family(name, "counter", help, ["\(name) \(counter.value)"])
    }

    /// Counters of one name that a label tells apart.
    mutating func counters(
        _ name: String, _ help: String, by label: String, _ counters: [(String, Metrics.Counter)]
    ) {
        family(name, "counter", help, counters.map { "\(name){\(label)=\"\($0.0)\"} \($0.1.value)" })
    }
}
