import Hansard
import Testing

@testable import HansardServer

/// Every state of what a session still owes, and what may be done in it.
@Suite struct SettlementProgressTests {
    private static let all: [SettlementProgress] = (0..<128).map { bits in
        var progress = SettlementProgress(hasTranscript: bits & 1 != 0)
        progress.isSpooled = bits & 2 != 0
        progress.location = bits & 4 != 0 ? "here" : nil
        progress.isReleased = bits & 8 != 0
        progress.wasStoring = bits & 16 != 0
        progress.isUsageRecorded = bits & 32 != 0
        progress.isRecordedAsStoring = bits & 64 != 0
        return progress
    }

    @Test(arguments: all) func theStepsAreTheDebts(_ progress: SettlementProgress) {
        let steps = progress.steps
        let transcriptWaits = progress.hasTranscript && progress.location == nil
        #expect(steps.contains(.putTranscript) == transcriptWaits)
        // A row that says `storing` is told again once that is over.
        let owesUsage = !progress.isUsageRecorded || (progress.isRecordedAsStoring && progress.location != nil)
        #expect(steps.contains(.recordUsage) == owesUsage)
        // The spool is only for what is not in its store yet.
        #expect(steps.contains(.spool) == (!progress.isSpooled && (transcriptWaits || owesUsage)))
        // The slot is not given back while the transcript is nowhere but in memory.
        let isNowhere = transcriptWaits && !progress.isSpooled
        #expect(steps.contains(.release) == (!progress.isReleased && !isNowhere))
        #expect(
            steps.contains(.finishStoring) == (progress.isReleased && progress.wasStoring && !transcriptWaits))
        #expect(steps == [.forget] || !steps.contains(.forget), "it is forgotten when nothing is owed")
        #expect(!steps.isEmpty)
    }

    @Test(arguments: all) func whatIsOwedIsTriedInTheOrderOfTheDesign(_ progress: SettlementProgress) {
        let order: [SettlementProgress.Step] = [
            .spool, .putTranscript, .release, .finishStoring, .recordUsage, .forget,
        ]
        let places = progress.steps.compactMap { order.firstIndex(of: $0) }
        #expect(places == places.sorted())
    }

    @Test func aReleaseOfUnknownFateMayHaveLeftItStoring() {
        var progress = SettlementProgress(hasTranscript: true)
        progress.released(.alreadyGone, as: .completed)
        #expect(progress.wasStoring)
        progress = SettlementProgress(hasTranscript: true)
        progress.released(.released, as: .completed)
        #expect(!progress.wasStoring)
        progress = SettlementProgress(hasTranscript: true)
        progress.released(.released, as: .storing)
        #expect(progress.wasStoring)
        progress = SettlementProgress(hasTranscript: false)
        progress.released(.alreadyGone, as: .completed)
        #expect(!progress.wasStoring, "there is nothing to store")
    }
}
