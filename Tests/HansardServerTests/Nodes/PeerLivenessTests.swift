import Foundation
import Hansard
import Testing

/// Who is dead: judged by heartbeats that stay the same on the judge's own clock.
@Suite struct PeerLivenessTests {
    let start = ContinuousClock.now

    private func record(_ epoch: NodeEpoch, beat: Int) -> NodeRecord {
        let bytes = (0..<4).map { UInt8(truncatingIfNeeded: beat >> (8 * $0)) }
        let heartbeat = UUID(uuid: (bytes[0], bytes[1], bytes[2], bytes[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        return NodeRecord(epoch: epoch, heartbeat: heartbeat, address: "", region: "", version: "")
    }

    @Test func aSilentPeerIsDeadAfterItsPatience() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peer = Sample.epoch("peer")
        for second in 0..<8 {
            #expect(liveness.observed([record(peer, beat: 1)], now: start + .seconds(second)).isEmpty)
        }
        #expect(liveness.observed([record(peer, beat: 1)], now: start + PeerLiveness.patience) == [peer])
    }

    /// Looks each second, as a node does, and returns what the last look says.
    private func look(
        _ liveness: inout PeerLiveness, at records: [NodeRecord], seconds: ClosedRange<Int>
    ) -> [NodeEpoch] {
        seconds.map { liveness.observed(records, now: start + .seconds($0)) }.last ?? []
    }

    @Test func aBeatBeginsThePatienceAnew() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peer = Sample.epoch("peer")
        for second in 0..<100 {
            let beat = record(peer, beat: second / 7)
            #expect(liveness.observed([beat], now: start + .seconds(second)).isEmpty)
        }
    }

    /// While the store was away nobody could beat: that is not the peer's silence. Once it is back there is time to beat.
    @Test func anOutageOfTheStoreKillsNobody() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peer = Sample.epoch("peer")
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 0...2).isEmpty)
        #expect(liveness.observed([record(peer, beat: 1)], now: start + .seconds(60)).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 61...63).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 64...64) == [peer])
    }

    /// What looks in a store that is slow, or fails now and then, have seen adds up.
    @Test(arguments: [[2_200], [3_400], [1_000, 1_000, 1_000, 1_000, 3_500], [10_000]])
    func aDeadPeerIsFoundInASlowStore(_ steps: [Int]) {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        var now = start
        var dead: [NodeEpoch] = []
        for number in 0..<10 where dead.isEmpty {
            dead = liveness.observed([record(Sample.epoch("peer"), beat: 1)], now: now)
            now += .milliseconds(steps[number % steps.count])
        }
        #expect(dead == [Sample.epoch("peer")])
    }

    /// All ways in which seven looks can lie apart: dead is who has been silent for the patience on the wall, in so many
    /// looks that none of them alone decides; and then in every look after.
    @Test func everyPatternOfLooksJudgesBySilenceThatWasSeen() {
        let steps = [500, 1_000, 2_000, 2_200, 3_400, 60_000]
        let fewest = Int(PeerLiveness.patience / PeerLiveness.longestStep)
        var found = 0
        for pattern in 0..<Int(pow(Double(steps.count), 6)) {
            var liveness = PeerLiveness(myself: Sample.epoch("me"))
            let peer = record(Sample.epoch("peer"), beat: 1)
            var (now, rest, isDead, watched) = (start, pattern, false, 0)
            #expect(liveness.observed([peer], now: now).isEmpty)
            for look in 1...6 {
                let step = steps[rest % steps.count]
                rest /= steps.count
                now += .milliseconds(step)
                watched += min(step, 2_000)
                let dead = !liveness.observed([peer], now: now).isEmpty
                guard dead == (watched >= 8_000), !dead || look >= fewest, dead || !isDead else {
                    Issue.record("pattern \(pattern), look \(look): \(dead)")
                    return
                }
                isDead = dead
            }
            if isDead { found += 1 }
        }
        #expect(found > 10_000)
    }

    /// However long this node stalls, and whenever: who beats every two seconds has always just beaten.
    @Test func whoStallsTakesNobodyForDead() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<500 {
            var liveness = PeerLiveness(myself: Sample.epoch("me"))
            var milliseconds = 0
            for _ in 0..<100 {
                milliseconds += [100, 1_000, 1_200, 5_000, 3_600_000].randomElement(using: &random) ?? 1_000
                let beat = record(Sample.epoch("peer"), beat: milliseconds / 2_000)
                #expect(liveness.observed([beat], now: start + .milliseconds(milliseconds)).isEmpty)
            }
        }
    }

    /// Outage upon outage: if the peer beats within three seconds of each return it lives.
    @Test(arguments: [5, 60, 3_600]) func outagesInARowKillNobodyWhoBeatsBetween(_ outage: Int) {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        var now = start
        for round in 0..<20 {
            for second in 0...4 {
                let beat = record(Sample.epoch("peer"), beat: second < 3 ? round : round + 1)
                #expect(liveness.observed([beat], now: now + .seconds(second)).isEmpty, "\(round) \(second)")
            }
            now += .seconds(4 + outage)
        }
    }

    @Test func oneselfIsNeverDead() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        for second in 0..<60 {
            #expect(liveness.observed([record(Sample.epoch("me"), beat: 1)], now: start + .seconds(second)).isEmpty)
        }
    }

    @Test func aPeerThatComesBackIsJudgedAnew() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peer = Sample.epoch("peer")
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 0...3).isEmpty)
        #expect(look(&liveness, at: [], seconds: 4...8).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 9...16).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 17...17) == [peer])
    }

    /// When most look dead at once it is more likely that one's own view is stale.
    @Test func mostPeersAtOnceAreGivenMoreTime() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peers = (1...3).map { Sample.epoch("peer-\($0)") }
        let records = peers.map { record($0, beat: 1) }
        #expect(look(&liveness, at: records, seconds: 0...22).isEmpty)
        // Two of them beat again: the third alone is dead.
        let two = [record(peers[0], beat: 2), record(peers[1], beat: 2), records[2]]
        #expect(liveness.observed(two, now: start + .seconds(23)) == [peers[2]])
        var stale = PeerLiveness(myself: Sample.epoch("me"))
        #expect(look(&stale, at: records, seconds: 0...23).isEmpty)
        #expect(Set(look(&stale, at: records, seconds: 24...24)) == Set(peers))
    }
}
