import Foundation
import Hansard
import Testing

/// In which months a plan may hold.
@Suite struct PlanAssignmentTests {
    @Test(
        arguments: [
            ("2026-11", nil, true), ("2026-11", "2026-11", true), ("2026-11", "2027-01", true),
            ("2026-11", "2026-10", false),
            ("2026-11", "2025-12", false),
        ] as [(String, String?, Bool)])
    func itDoesNotEndBeforeItBegins(_ from: String, _ to: String?, _ isGood: Bool) throws {
        let assignment = PlanAssignment(
            tenant: TenantID(UUID()), from: try #require(QuotaPeriod(from)), to: to.flatMap { QuotaPeriod($0) },
            plan: PlanID(UUID()), version: 1, createdAt: .distantPast, updatedAt: .distantPast)
        do throws(HansardError) {
            try assignment.check()
            #expect(isGood)
        } catch {
            #expect(!isGood && error.code == .contradictory && error.field == "/to_period")
        }
    }

    @Test func everyCurrencyIsListedOnce() {
        let codes = Currency.all.map(\.code)
        #expect(codes == codes.sorted() && Set(codes).count == codes.count && codes.count > 150)
        #expect(codes.contains("EUR") && !codes.contains("XAU"))
    }

    @Test func plansIdsAreLowerCaseUUIDs() {
        let id = PlanID(UUID())
        #expect(PlanID(id.description) == id && PlanID(id.description.uppercased()) == id)
        #expect(id.description == id.description.lowercased() && PlanID("plan") == nil)
    }
}
