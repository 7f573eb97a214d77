import Foundation
import Hansard
import Testing

/// Invoices by examples that can be checked by hand, and what holds of them whatever comes late.
@Suite struct InvoiceTests {
    private static let dollars = Currency("USD")!
    private static let month = QuotaPeriod("2026-10")!
    private static let tenant = TenantID(UUID(uuid: (1, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1)))
    private static let plan = PlanID(UUID(uuid: (3, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 3)))

    private static func prices(
        _ tiers: [(Int64?, String)], _ mode: TierMode = .graduated, commitment: String = "0"
    ) throws -> PlanVersion {
        let tiers = try tiers.map { Tier(upTo: $0.0, unitPrice: try #require(Price($0.1))) }
        let prices = PlanVersion(
            currency: dollars, increment: 1_000, minimum: 15_000, commitment: try #require(Price(commitment)),
            charges: [
                Charge(engine: "a", language: "en", mode: mode, includedMinutes: 1, tiers: tiers),
                Charge(engine: "a", tiers: tiers),
            ])
        try prices.check()
        return prices
    }

    private static func rated(_ prices: PlanVersion, _ times: [BillableTime]) -> RatedPeriod {
        var rating = Rating(prices)
        for time in times { rating.add(time) }
        return RatedPeriod(period: month, plan: plan, version: 2, prices: prices, rated: rating.lines)
    }

    private static func minutes(_ count: Int64, _ language: String = "en", engine: String = "a") -> BillableTime {
        BillableTime(engine: engine, language: language, milliseconds: count * 60_000)
    }

    private static func invoice(_ lines: [InvoiceLine]) -> Invoice {
        Invoice(
            state: .closed, number: 7, tenant: tenant, period: month, currency: dollars, plan: plan, version: 2,
            lines: lines, dataAsOf: Date(timeIntervalSince1970: 1_793_491_200.25),
            createdAt: Date(timeIntervalSince1970: 1_793_495_000))
    }

    // MARK: The document

    @Test func anInvoiceIsWrittenInOneWay() throws {
        var line = try #require(Self.rated(Self.prices([(2, "1"), (nil, "0.5")]), [Self.minutes(4)]).lines.first)
        line.sessionsURL = "/v1/usage/sessions?a=b"
        let document = try Self.invoice([line]).document()
        #expect(
            document == """
                {"created_at":"2026-11-01T01:03:20.000Z","currency":"USD","data_as_of":"2026-11-01T00:00:00.250Z",\
                "end_time":"2026-11-01T00:00:00.000Z","lines":[{"amount":"2.50","amount_precise":"2.5","billed_ms":240000,\
                "charge":0,"credit_id":null,"currency":"USD","engine":"a","for_period":"2026-10","included_ms":60000,\
                "kind":"usage","language":"en","mode":"graduated","plan_id":"03000000-0000-4000-8000-000000000003",\
                "raw_ms":240000,"reason":null,"sessions":1,"sessions_url":"/v1/usage/sessions?a=b","subject":"charge",\
                "tiers":[{"amount_precise":"2","billed_ms":120000,"tier":0,"unit_price":"1","up_to":2},\
                {"amount_precise":"0.5","billed_ms":60000,"tier":1,"unit_price":"0.5","up_to":null}],"unit":"minute",\
                "version":2}],"number":7,"period":"2026-10","plan_id":"03000000-0000-4000-8000-000000000003",\
                "start_time":"2026-10-01T00:00:00.000Z","state":"closed",\
                "tenant_id":"01000000-0000-4000-8000-000000000001","total":"2.50","version":2}
                """)
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let prices = try Self.prices([(2, "0.333333333333"), (nil, "0.1")], commitment: "100")
        let credit = Credit(
            id: CreditID(UUID()), tenant: Self.tenant, period: Self.month,
            amount: try #require(Money("-12.5", Self.dollars)), reason: "a \"day\" away / sorry\u{7f}é", actor: "adm_1",
            createdAt: .now)
        let rated = Self.rated(prices, [Self.minutes(9), Self.minutes(1, engine: "z")])
        let invoice = Self.invoice(rated.lines + [InvoiceLine(credit)])
        let document = try invoice.document()
        let again = try Invoice(document: document)
        #expect(again == invoice)
        #expect(try again.document() == document)
        #expect("\(invoice.total)" == "87.50", "100 of commitment less 12.50")
        #expect(again.lines.map(\.subject) == [.charge(0), .charge(1), .unpriced, .commitment, .credit(credit.id)])
        for line in invoice.lines { #expect(try InvoiceLine(document: line.document()) == line) }
    }

    @Test(arguments: ["12.50", "-0.01", "0.00", "99999999999999999999.99"]) func amountsAreRead(_ text: String) throws {
        #expect(try #require(Money(text, Self.dollars)).description == text)
    }

    @Test(arguments: ["", "-", "1.", ".5", "1.234", "+1", " 1", "1e3", "--1", "1,0", "٣", "99999999999999999999999.00"])
    func whatIsNoAmountIsNot(_ text: String) {
        #expect(Money(text, Self.dollars) == nil)
    }

    @Test func anAmountAsItIsWrittenIsExactlyThat() throws {
        let third = Amount(20_000, at: try #require(Price("1")), per: .minute)
        #expect(third.description == "0.333333333333" && third.written != third)
        #expect(Amount(third.description) == third.written)
        #expect((third.written + third.written + third.written).description == "0.999999999999")
        #expect(Amount("-1.5").map(\.description) == "-1.5" && Amount("0.0000000000001") == nil)
        #expect(Amount("9999999999999999999999") == nil, "it could not be added up")
    }

    // MARK: Late usage

    @Test func nothingLateIsNoAdjustment() throws {
        let rated = Self.rated(try Self.prices([(nil, "0.01")], commitment: "5"), [Self.minutes(7)])
        #expect(rated.adjustments(billed: rated.lines) == [])
    }

    /// Three minutes at 1 were billed; ten are all at 0.10.
    @Test func anAdjustmentMayBeBelowZeroWhereTiersAreByVolume() throws {
        let prices = try Self.prices([(5, "1"), (nil, "0.1")], .volume)
        let before = Self.rated(prices, [Self.minutes(4)])
        #expect(before.lines.map { "\($0.amount)" } == ["3.00", "0.00"])
        let after = Self.rated(prices, [Self.minutes(4), Self.minutes(7)])
        let adjustments = after.adjustments(billed: before.lines)
        let line = try #require(adjustments.first)
        #expect(adjustments.count == 1 && line.kind == .adjustment && line.period == Self.month)
        #expect("\(line.amount)" == "-2.00" && "\(line.precise)" == "-2")
        #expect(line.sessions == 1 && line.raw == 420_000 && line.billed == 420_000 && line.included == 0)
        #expect(line.tiers.map(\.milliseconds) == [-180_000, 600_000])
        #expect(line.tiers.map { "\($0.precise)" } == ["-3", "1"])
        #expect(after.adjustments(billed: before.lines + adjustments) == [])
    }

    /// What was billed to reach the commitment is given back as usage reaches it.
    @Test func lateUsageTakesTheCommitmentsPlace() throws {
        let prices = try Self.prices([(nil, "1")], commitment: "10")
        let before = Self.rated(prices, [Self.minutes(4)])
        #expect(before.lines.map { "\($0.amount)" } == ["3.00", "0.00", "7.00"])
        let after = Self.rated(prices, [Self.minutes(4), Self.minutes(20)])
        let adjustments = after.adjustments(billed: before.lines)
        #expect(adjustments.map(\.subject) == [.charge(0), .commitment])
        #expect(adjustments.map { "\($0.amount)" } == ["20.00", "-7.00"])
        let all = Self.invoice(before.lines + adjustments)
        #expect("\(all.total)" == "23.00")
    }

    /// It costs nothing, and yet it is there to be seen.
    @Test func lateUsageThatIsIncludedIsALineAllTheSame() throws {
        let prices = try Self.prices([(nil, "1")])
        let adjustments = Self.rated(prices, [Self.minutes(1)]).adjustments(billed: Self.rated(prices, []).lines)
        #expect(adjustments.map { "\($0.amount) \($0.raw) \($0.included) \($0.sessions)" } == ["0.00 60000 60000 1"])
    }

    /// However usage is spread over any number of closings, all lines together are what all of it comes to at once.
    @Test(arguments: 0..<200) func allLinesTogetherAreTheWhole(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let tiers: [(Int64?, String)] = [(Int64.random(in: 1...20, using: &random), "0.333333333333"), (nil, "0.0271")]
        let prices = try Self.prices(
            tiers, Bool.random(using: &random) ? .volume : .graduated,
            commitment: Bool.random(using: &random) ? "7.77" : "0")
        var (times, billed): ([BillableTime], [InvoiceLine]) = ([], [])
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                times.append(
                    BillableTime(
                        engine: ["a", "b"].randomElement(using: &random)!,
                        language: ["en", "de"].randomElement(using: &random)!, isBeginning: .random(using: &random),
                        earlier: [
                            EarlierTime(engine: "a", audio: .random(in: 0...20_000, using: &random), connected: 20_000)
                        ],
                        milliseconds: .random(in: 0...900_000, using: &random)))
            }
            let rated = Self.rated(prices, times)
            billed += billed.isEmpty ? rated.lines : rated.adjustments(billed: billed)
        }
        let whole = Self.rated(prices, times)
        #expect(whole.adjustments(billed: billed) == [])
        for subject in Set(billed.map(\.subject)) {
            let (posted, line) = (billed.filter { $0.subject == subject }, whole.lines.first { $0.subject == subject })
            let amount = posted.reduce(into: Money(currency: Self.dollars)) { $0 += $1.amount }
            #expect(amount == line?.amount ?? Money(currency: Self.dollars))
            #expect(posted.reduce(.zero) { $0 + $1.precise } == line?.precise ?? .zero)
            #expect(posted.reduce(0) { $0 + $1.raw } == line?.raw ?? 0)
            #expect(posted.reduce(0) { $0 + $1.billed } == line?.billed ?? 0)
            #expect(posted.reduce(0) { $0 + $1.included } == line?.included ?? 0)
            #expect(posted.reduce(0) { $0 + $1.sessions } == line?.sessions ?? 0)
        }
    }
}

/// When a month may be closed.
@Suite struct ClosingRequestTests {
    private static let month = QuotaPeriod("2026-10")!

    private func refusal(
        _ state: BillingPeriod.State = .open, earlier: QuotaPeriod? = nil, later: QuotaPeriod? = nil,
        behind: Int = 0,
        after seconds: Double = 3_600,
        override: String? = nil
    ) -> HansardError? {
        let sources = (0..<behind).map { number in
            UsageSource(
                epoch: NodeEpoch(node: "node-\(number)", epoch: UUID()), registeredAt: Self.month.start,
                completeThrough: Self.month.end - Double(number) - 1)
        }
        let request = ClosingRequest(
            BillingPeriod(period: Self.month, state: state), earlierMonth: earlier, laterMonth: later,
            behind: sources, grace: .seconds(3_600), override: override)
        do {
            try request.check(at: Self.month.end + seconds) { "\(Int($0.timeIntervalSince1970))" }
            return nil
        } catch { return error }
    }

    @Test func itIsOverAndAllUsageIsThere() { #expect(refusal() == nil) }

    @Test(arguments: [-1_000_000, 0, 3_599.9]) func itIsNotOverForLongEnough(_ seconds: Double) {
        let refusal = refusal(after: seconds, override: "now")
        #expect(refusal?.code == .conflict && refusal?.message.contains("at the earliest") == true)
    }

    @Test func anEarlierMonthComesFirst() {
        let refusal = refusal(earlier: QuotaPeriod("2026-09"), override: "now")
        #expect(
            refusal?.message
                == "2026-09 comes before 2026-10, is not closed, and has usage, a commitment or a credit: close it first"
        )
    }

    @Test func aMonthThatWasPassedOverStaysSo() {
        let refusal = refusal(later: QuotaPeriod("2026-12"), override: "now")
        #expect(refusal?.code == .conflict && refusal?.message.hasPrefix("2026-12 comes after 2026-10") == true)
        #expect(self.refusal(.closing, later: QuotaPeriod("2026-12")) == nil, "it only goes on")
    }

    @Test func sourcesThatAreBehindAreNamed() {
        let two = refusal(behind: 2)?.message ?? ""
        #expect(two.contains("node-0 (epoch ") && two.contains("node-1 (epoch ") && two.contains("retire"))
        let many = refusal(behind: 12)?.message ?? ""
        #expect(many.contains("node-9") && !many.contains("node-10") && many.contains("and 2 more"))
        #expect(refusal(behind: 12, override: "they burned") == nil)
    }

    @Test func itIsClosedOnce() {
        #expect(refusal(.closed, override: "again")?.code == .conflict)
        #expect(refusal(.closing, earlier: Self.month, behind: 1, after: -5) == nil, "it goes on")
    }
}
