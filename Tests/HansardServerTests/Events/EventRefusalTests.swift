import Testing

@testable import HansardServer

/// Events by their positions, from 1 on, and what becomes of them.
private struct Outbox {
    var pacing: EventPacing
    /// Events that there are.
    var total: Int64
    var place: Int64 = 0
    var delivered: [Int64] = []
    var setAside: [Int64] = []
    /// Requests so far.
    var requests = 0
    var trouble = ""

    init(_ total: Int64, atOnce: Int = 8) {
        var limits = EventPacing.Limits()
        limits.events = atOnce
        pacing = EventPacing(limits)
        self.total = total
    }

    /// One request.
    ///
    /// - Parameter judge: by the number of the request and its events.
    mutating func send(
        now: ContinuousClock.Instant, _ judge: (Int, ClosedRange<Int64>) -> EventPacing.Answer
    ) -> EventPacing.Outcome {
        var request = pacing.next(after: place, pending: Int(total - place))
        let there = min(request.count, Int(total - request.after))
        request.count = pacing.batch(of: Array(repeating: 1, count: there))
        let sent = (request.after + 1)...(request.after + Int64(request.count))
        let outcome = pacing.answered(judge(requests, sent), to: request, now: now, chance: 1)
        requests += 1
        switch outcome {
        case .delivered:
            delivered += Array(sent)
            place = sent.upperBound
        case .refused:
            setAside.append(sent.upperBound)
            place = sent.upperBound
        case .failed(let reason): trouble = reason
        case .divided, .doubted, .witnessed: break
        }
        return outcome
    }

    /// Until there is nothing left or the receiver is to be left alone.
    ///
    /// - Returns: for how long it is.
    @discardableResult
    mutating func look(_ judge: (Int, ClosedRange<Int64>) -> EventPacing.Answer) -> Duration {
        let now = ContinuousClock.now
        pacing.forgetRefusals()
        while place < total, requests < 100_000 {
            if case .failed = send(now: now, judge) { return pacing.notBefore.map { now.duration(to: $0) } ?? .zero }
        }
        return .zero
    }

    /// Until looks change nothing any more, though others are asked about each time, or the receiver may be mended.
    mutating func finish(_ judge: (Int, ClosedRange<Int64>) -> EventPacing.Answer) {
        var idle: Int64 = 0
        while place < total, idle < total + 40 {
            let before = place
            look(judge)
            idle = place == before ? idle + 1 : 0
        }
    }
}

/// What a receiver refuses is set aside only where it takes others.
@Suite struct EventRefusalTests {
    private static func refusing(
        _ poison: Set<Int64>, status: Int = 400
    ) -> (Int, ClosedRange<Int64>) -> EventPacing.Answer {
        { _, sent in .status(sent.contains { poison.contains($0) } ? status : 200) }
    }

    /// Whichever events are poison: exactly these are set aside, and what waits is poison alone, until another one comes along.
    @Test(arguments: [1, 2, 3, 8], Int64(1)...8)
    func whateverIsPoisonIsSetAsideAndNothingElse(atOnce: Int, length: Int64) {
        let positions = Array(1...length)
        for bits in 0..<(Int64(1) << length) {
            let poison = Set(positions.filter { (bits >> ($0 - 1)) & 1 == 1 })
            let good = positions.filter { !poison.contains($0) }
            let judge = Self.refusing(poison)
            var outbox = Outbox(length, atOnce: atOnce)
            outbox.finish(judge)
            #expect(outbox.delivered == good, "\(poison.sorted())")
            #expect(outbox.setAside == poison.sorted().filter { $0 <= outbox.place })
            outbox.total += 1
            outbox.finish(judge)
            #expect(outbox.place == outbox.total && outbox.setAside == poison.sorted())
            #expect(outbox.delivered == good + [outbox.total])
        }
    }

    /// It has the wrong secret for a while, say.
    @Test(arguments: Int64(1)...12) func aReceiverThatIsWrongForAWhileCostsNothing(length: Int64) {
        for begin in 0..<20 {
            for end in begin...(begin + 30) {
                var outbox = Outbox(length)
                outbox.finish { number, _ in .status((begin..<end).contains(number) ? 400 : 200) }
                #expect(outbox.setAside.isEmpty && outbox.delivered == Array(1...length), "\(begin) to \(end)")
            }
        }
    }

    /// And if it goes wrong at the very moment at which it is asked about one that is poison, one event at most.
    @Test(arguments: Int64(1)...10) func aReceiverThatGoesWrongWhileItIsAskedCostsOneAtMost(poison: Int64) {
        for begin in 0..<24 {
            for end in begin...(begin + 16) {
                var outbox = Outbox(11)
                outbox.finish { number, sent in
                    .status((begin..<end).contains(number) || sent.contains(poison) ? 400 : 200)
                }
                #expect(outbox.place == 11 && outbox.setAside.contains(poison))
                #expect(outbox.setAside.count <= 2, "\(begin) to \(end)")
            }
        }
    }

    @Test(arguments: [400, 413, 422]) func whoTakesNothingIsLeftAloneAsIfItWereAway(status: Int) {
        var outbox = Outbox(30)
        var pauses: [Duration] = []
        for _ in 0..<12 { pauses.append(outbox.look { _, _ in .status(status) }) }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300].map { .seconds($0) })
        #expect(outbox.place == 0 && outbox.setAside.isEmpty)
        #expect(outbox.trouble.contains("HANSARD_EVENTS_SECRET") && outbox.trouble.contains("\(status)"))
        let before = outbox.requests
        outbox.look { _, _ in .status(200) }
        #expect(outbox.delivered == Array(1...30) && outbox.requests - before <= 8)
    }

    @Test func theOnlyOneThereIsWaitsForAnother() {
        var outbox = Outbox(1)
        var pauses: [Duration] = []
        for _ in 0..<12 { pauses.append(outbox.look(Self.refusing([1], status: 422))) }
        #expect(pauses.last == .seconds(300) && outbox.place == 0)
        #expect(outbox.trouble.contains("the only event") && outbox.trouble.contains("422"))
        outbox.total = 2
        outbox.look(Self.refusing([1], status: 422))
        #expect(outbox.setAside == [1] && outbox.delivered == [2])
    }

    /// All sessions of a tenant that the receiver does not know.
    @Test(arguments: [2, 10, 100, 1_000] as [Int64]) func aLongRowOfPoisonIsPassedAtOnce(length: Int64) {
        var outbox = Outbox(length + 3)
        let pause = outbox.look(Self.refusing(Set(1...length)))
        #expect(pause == .zero)
        #expect(outbox.setAside == Array(1...length) && outbox.delivered.count == 3)
        #expect(outbox.requests <= Int(length) * 3 + 20)
    }

    /// The one that is taken is found wherever it is, though not at once.
    @Test(arguments: Int64(2)...40) func oneThatIsTakenIsFoundAmongThoseThatAreNot(good: Int64) {
        var outbox = Outbox(40)
        outbox.finish(Self.refusing(Set(1...40).subtracting([good])))
        #expect(outbox.delivered == [good] && outbox.place >= good)
    }

    /// It is refused, another is taken, and then much happens.
    @Test func whatWasRefusedBeforeIsForgotten() {
        let now = ContinuousClock.now
        var known = Outbox(3, atOnce: 1)
        let first = known.send(now: now) { _, _ in .status(400) }
        let second = known.send(now: now) { _, _ in .status(200) }
        #expect(first == .doubted && second == .witnessed)

        /// What comes of another refusal after something has happened.
        func refusal(after change: (inout Outbox) -> Void) -> EventPacing.Outcome {
            var outbox = known
            change(&outbox)
            return outbox.send(now: now) { _, _ in .status(400) }
        }
        let atOnce = refusal { _ in }
        let inAnotherLook = refusal { $0.pacing.forgetRefusals() }
        let afterAnOutage = refusal { _ = $0.send(now: now) { _, _ in .none("away") } }
        let afterAnotherNode = refusal { $0.place = 1 }
        #expect(atOnce == .refused(400))
        #expect(inAnotherLook == .doubted && afterAnOutage == .doubted && afterAnotherNode == .doubted)
    }
}
