import Hansard
import Testing

@testable import HansardServer

/// The page that Prometheus reads (text exposition format 0.0.4).
@Suite struct MetricsTests {
    private func value(_ sample: String, in page: String) -> String? {
        page.split(separator: "\n").first { $0.hasPrefix(sample + " ") }.map { String($0.dropFirst(sample.count + 1)) }
    }

    @Test func whatHappenedIsOnThePage() {
        let metrics = Metrics()
        metrics.sessionsStarted.add()
        metrics.ended(.completed)
        metrics.ended(.failed)
        metrics.ended(.failed)
        metrics.refused(401)
        metrics.audioMilliseconds.add(1_500)
        metrics.finalResults.add(3)
        metrics.engineFallbacks.add()
        let page = metrics.page([.init(name: "x_bytes", help: "X.", value: 12)])
        #expect(value("hansard_sessions_started_total", in: page) == "1")
        #expect(value("hansard_sessions_ended_total{state=\"completed\"}", in: page) == "1")
        #expect(value("hansard_sessions_ended_total{state=\"failed\"}", in: page) == "2")
        #expect(value("hansard_sessions_ended_total{state=\"terminated\"}", in: page) == "0")
        #expect(value("hansard_handshakes_refused_total{status=\"401\"}", in: page) == "1")
        #expect(value("hansard_audio_seconds_total", in: page) == "1.5")
        #expect(value("hansard_results_total{kind=\"final\"}", in: page) == "3")
        #expect(value("hansard_engine_fallbacks_total", in: page) == "1")
        #expect(value("x_bytes", in: page) == "12.0")
    }

    @Test func everyStatusOfAHandshakeIsCounted() {
        let metrics = Metrics()
        for status in [400, 401, 402, 403, 404, 409, 429, 500, 503] {
            metrics.refused(status)
            #expect(
                value("hansard_handshakes_refused_total{status=\"\(status)\"}", in: metrics.page([])) == "1",
                "\(status)")
        }
    }

    @Test func bucketsAreCumulative() {
        let metrics = Metrics()
        for milliseconds in [0, 1, 2, 3, 250, 10_000, 10_001, 60_000] {
            metrics.claimLatency.observe(.milliseconds(milliseconds))
        }
        let page = metrics.page([])
        func bucket(_ bound: String) -> String? { value("hansard_claim_seconds_bucket{le=\"\(bound)\"}", in: page) }
        #expect(bucket("0.001") == "2")
        #expect(bucket("0.002") == "3")
        #expect(bucket("0.005") == "4")
        #expect(bucket("0.1") == "4")
        #expect(bucket("0.25") == "5")
        #expect(bucket("10.0") == "6")
        #expect(bucket("+Inf") == "8")
        #expect(value("hansard_claim_seconds_count", in: page) == "8")
        #expect(value("hansard_claim_seconds_sum", in: page) == "80.257")
        #expect(metrics.claimLatency.count == 8)
    }

    /// Each family is described once, before its samples, and each sample is there once.
    @Test func thePageIsWellFormed() {
        let gauges = ["one", "two"].map { engine in
            Metrics.Gauge(name: "slots", help: "Slots.", value: 1, labels: [("engine", engine)])
        }
        let page = Metrics().page(gauges)
        #expect(page.hasSuffix("\n"))
        var family = ""
        var families: [String] = []
        var samples: Set<String> = []
        for line in page.split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("# TYPE") {
                family = String(words[2])
                families.append(family)
                #expect(["counter", "gauge", "histogram"].contains(words[3]))
            } else if !line.hasPrefix("#") {
                #expect(line.hasPrefix(family))
                #expect(words.count == 2 && Double(words[1]) != nil, "\(line)")
                #expect(samples.insert(String(words[0])).inserted, "\(line) comes twice")
            }
        }
        #expect(Set(families).count == families.count, "a family is described once")
        #expect(samples.contains("slots{engine=\"two\"}"))
    }

    @Test func manyThreadsCountTogether() async {
        let metrics = Metrics()
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask { @concurrent in
                    for _ in 0..<1_000 {
                        metrics.requests.add()
                        metrics.spoolLatency.observe(.microseconds(10))
                    }
                }
            }
        }
        #expect(metrics.requests.value == 8_000)
        #expect(metrics.spoolLatency.count == 8_000)
    }
}
