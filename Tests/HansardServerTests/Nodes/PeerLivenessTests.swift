import Foundation
import Hansard
import Testing

/// Who is dead: judged by heartbeats that stay the same on the judge's own clock.
@Suite struct PeerLivenessTests {
    let start = ContinuousClock.now

    private func record(_ epoch: NodeEpoch, beat: UInt8) -> NodeRecord {
        NodeRecord(
            epoch: epoch, heartbeat: UUID(uuid: (beat, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), address: "",
            region: "",
            version: "")
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
            let beat = record(peer, beat: UInt8(second / 7))
            #expect(liveness.observed([beat], now: start + .seconds(second)).isEmpty)
        }
    }

    /// While the store was away nobody could beat: that is not the peer's silence.
    @Test func anOutageOfTheStoreKillsNobody() {
        var liveness = PeerLiveness(myself: Sample.epoch("me"))
        let peer = Sample.epoch("peer")
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 0...2).isEmpty)
        #expect(liveness.observed([record(peer, beat: 1)], now: start + .seconds(60)).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 61...67).isEmpty)
        #expect(look(&liveness, at: [record(peer, beat: 1)], seconds: 68...68) == [peer])
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
