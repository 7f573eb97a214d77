import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// Invoices as tables and pages.
@Suite struct BillingFormsTests {
    private let dollar = Currency("USD")!
    private let january = BillingFixture.january
    private let reader = BillingReader(issuer: "Müller & <Söhne>")

    private func prices(_ json: String) throws -> PlanVersion {
        var reader = try ObjectReader(Array(json.utf8))
        return try PlanVersion(&reader)
    }

    /// What some sessions come to, with whatever else is on the invoice.
    private func billed(
        _ prices: PlanVersion, _ times: [(engine: String, milliseconds: Int64)], also lines: [InvoiceLine] = [],
        name: String? = "Acme"
    ) throws -> BilledTenant {
        var rating = Rating(prices)
        for (engine, milliseconds) in times {
            rating.add(
                BillableTime(
                    engine: engine, language: "en", isBeginning: true, milliseconds: milliseconds))
        }
        let period = RatedPeriod(
            period: january, plan: PlanID(UUID()), version: 3, prices: prices, rated: rating.lines)
        var all = period.lines + lines
        // As an earlier release wrote it.
        for index in all.indices where all[index].raw > 0 { all[index].sessionsURL = "/v1/admin/usage?engine=b" }
        let invoice = Invoice(
            state: .closed, number: 7, tenant: Sample.tenant, period: january, currency: dollar, plan: period.plan,
            version: 3, lines: all, dataAsOf: january.end, createdAt: january.end + 60)
        return try BilledTenant(invoice, name: name)
    }

    private let tiered = """
        {"currency":"USD","commitment":"50","charges":[{"engine":"synthetic","included_minutes":1,"tiers":[{"up_to":2,
        "unit_price":"0.333"},{"up_to":5,"unit_price":"0.1111"},{"unit_price":"0.07"}]},{"unit":"hour","engine":"deepgram",
        "tiers":[{"unit_price":"0.37"}]}]}
        """

    private func rows(_ response: HTTPResponse) -> [[String: String]] {
        let lines = String(decoding: response.body, as: UTF8.self).components(separatedBy: "\r\n").dropLast()
        let columns = (lines.first ?? "").components(separatedBy: ",")
        return lines.dropFirst().map { line in
            var (cells, cell, isQuoted) = ([String](), "", false)
            for character in line {
                switch character {
                case "\"": isQuoted.toggle()
                case "," where !isQuoted:
                    cells.append(cell)
                    cell = ""
                default: cell.append(character)
                }
            }
            return Dictionary(uniqueKeysWithValues: zip(columns, cells + [cell]))
        }
    }

    // MARK: Shares

    @Test func sharesAddUpAndNobodyGetsMoreThanOneOverWhatIsExact() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let amounts = (0..<Int.random(in: 1...7, using: &random)).map { _ in
                let text = "\(Int.random(in: -40...400, using: &random)).\(Int.random(in: 0...99_999, using: &random))"
                return Amount(text) ?? .zero
            }
            let total = amounts.reduce(.zero, +).rounded(to: dollar)
            let shares = total.shares(for: amounts)
            #expect(shares.reduce(0) { $0 + $1.minor } == total.minor)
            for (share, amount) in zip(shares, amounts) {
                let off = share.amount - amount
                let cent = Money(minor: 1, currency: dollar).amount
                #expect(off < cent && Amount.zero - off < cent, "\(share) of \(amount)")
            }
        }
    }

    @Test func whatIsLeftGoesToThoseThatLostMostAndOfEqualsToTheFirst() throws {
        func shares(_ total: Int128, _ amounts: String...) -> [Int128] {
            Money(minor: total, currency: dollar).shares(for: amounts.compactMap(Amount.init)).map(\.minor)
        }
        #expect(shares(100, "0.333333", "0.333333", "0.333334") == [33, 33, 34])
        #expect(shares(101, "0.335", "0.335", "0.335") == [34, 34, 33])
        #expect(shares(-100, "-0.335", "-0.665") == [-33, -67])
        // An adjustment's amount is a difference of rounded ones, and may be one off.
        #expect(shares(99, "0.5", "0.5") == [50, 49] && shares(102, "0.5", "0.5") == [51, 51])
        #expect(shares(5) == [])
    }

    // MARK: FOCUS

    @Test func rowsOfFocusAddUpToTheInvoice() throws {
        let credit = InvoiceLine.credit(of: Sample.tenant, -250)
        let billed = try billed(
            prices(tiered),
            [("synthetic", 421_337), ("deepgram", 3_599_999), ("pocketsphinx", 61_001), ("synthetic", 1)],
            also: [credit])
        let rows = rows(.invoice(billed, as: .focus, for: reader))
        #expect(rows.count == billed.invoice.lines.reduce(0) { $0 + FocusTable.parts(of: $1).count })
        let costs = try rows.map { try #require(Money($0["BilledCost"] ?? "", dollar)).minor }
        #expect(costs.reduce(0, +) == billed.invoice.total.minor)
        for line in billed.invoice.lines {
            let parts = FocusTable.parts(of: line)
            #expect(parts.reduce(.zero) { $0 + $1.precise } == line.precise, "\(line.subject)")
            if line.unit != nil { #expect(parts.reduce(0) { $0 + $1.milliseconds } == line.billed) }
        }
        let categories = rows.map { "\($0["ChargeCategory"] ?? "") \($0["ChargeFrequency"] ?? "")" }
        #expect(
            categories.suffix(3) == ["Usage Usage-Based", "Purchase Recurring", "Credit One-Time"]
                && rows.map { $0["SkuPriceId"]?.components(separatedBy: "/").last } == [
                    "included", "tier-0", "tier-1", "tier-2", "tier-0", "unpriced", "total", "",
                ])
        // Units times the unit's price is the list cost, as far as twelve places go.
        let priced = rows.filter { $0["ListUnitPrice"] != "" }
        #expect(priced.count == rows.count - 1)
        for row in priced {
            let product = (Double(row["PricingQuantity"] ?? "") ?? 0) * (Double(row["ListUnitPrice"] ?? "") ?? -1)
            #expect(abs(product - (Double(row["ListCost"] ?? "") ?? -1)) < 1e-9, "\(row)")
        }
        #expect(rows.reduce(0) { $0 + (Int($1["x_Sessions"] ?? "") ?? 0) } == 4)
    }

    @Test func aCorrectionIsOfItsOwnMonth() throws {
        var line = InvoiceLine.credit(of: Sample.tenant, 12)
        (line.kind, line.subject, line.period) = (.adjustment, .unpriced, QuotaPeriod("2025-12")!)
        let rows = rows(.invoice(try billed(prices(tiered), [], also: [line]), as: .focus, for: reader))
        let row = try #require(rows.last)
        #expect(row["ChargeClass"] == "Correction" && row["ChargePeriodStart"] == "2025-12-01T00:00:00Z")
        #expect(row["ChargePeriodEnd"] == "2026-01-01T00:00:00Z" && row["BillingPeriodStart"] == "2026-01-01T00:00:00Z")
    }

    /// The specification's unit prices are not below zero, and quantities of corrections may be.
    @Test func aMinimumThatLateUsageReachedIsTakenBackByItsQuantity() throws {
        var line = InvoiceLine.credit(of: Sample.tenant, -1_116)
        (line.kind, line.subject, line.period) = (.adjustment, .commitment, QuotaPeriod("2025-12")!)
        let rows = rows(.invoice(try billed(prices(tiered), [], also: [line]), as: .focus, for: reader))
        let row = try #require(rows.last)
        #expect(row["ChargeCategory"] == "Purchase" && row["ChargeClass"] == "Correction")
        #expect(row["PricingQuantity"] == "-1" && row["ListUnitPrice"] == "11.16")
        #expect(row["ContractedUnitPrice"] == "11.16" && row["ListCost"] == "-11.16" && row["BilledCost"] == "-11.16")
    }

    /// "Committed" is what a commitment discount covers, and that has an id.
    @Test func aMinimumIsNoCommitmentDiscount() throws {
        let rows = rows(.invoice(try billed(prices(tiered), []), as: .focus, for: reader))
        let row = try #require(rows.first { $0["ChargeCategory"] == "Purchase" })
        #expect(row["PricingCategory"] == "Standard" && row["CommitmentDiscountId"] == "")
        #expect(row["PricingQuantity"] == "1" && row["ListUnitPrice"] == "50" && row["BilledCost"] == "50.00")
    }

    // MARK: Tables and pages

    @Test(arguments: BillingForm.allCases)
    func invoicesInAllFormsSayUpToWhenUsageIsKnown(_ form: BillingForm) throws {
        let response = HTTPResponse.invoice(try billed(prices(tiered), []), as: form, for: reader)
        #expect(response.headers["data-as-of"] == (form == .json ? nil : Timestamp.format(january.end)))
    }

    @Test func aNameThatIsAFormulaIsText() throws {
        let billed = try billed(prices(tiered), [("synthetic", 5_000)], name: "=HYPERLINK(\"http://x\",\"y\")")
        for form in [BillingForm.csv, .focus] {
            let text = String(decoding: HTTPResponse.invoice(billed, as: form, for: reader).body, as: UTF8.self)
            #expect(text.contains("\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"") && !text.contains(",=HYPERLINK"))
        }
    }

    @Test func whatOthersWroteIsTextOnAPage() throws {
        var credit = InvoiceLine.credit(of: Sample.tenant, -100)
        credit.reason = "<img src=x onerror=alert(1)>"
        let billed = try billed(
            prices(tiered), [("synthetic", 5_000)], also: [credit], name: "<script>alert(1)</script>")
        let response = HTTPResponse.invoice(billed, as: .html, for: reader)
        let page = String(decoding: response.body, as: UTF8.self)
        #expect(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&lt;img src=x"))
        #expect(page.contains("Müller &amp; &lt;Söhne&gt;"))
        #expect(!page.contains("<script") && !page.contains("<img"))
        let policy = try #require(response.headers["content-security-policy"])
        #expect(policy.hasPrefix("default-src 'none'; style-src 'sha256-"))
        let report = InvoicePage(reader: reader).response([billed, billed], of: january, hasMore: true)
        let whole = String(decoding: report.body, as: UTF8.self)
        #expect(
            !whole.contains("<script") && whole.contains("there are more") && whole.contains("<tfoot><tr><td>Total"))
    }

    /// Else an override of a text's direction would turn the amounts beside it.
    @Test func namesAndReasonsKeepTheirDirectionToThemselves() throws {
        var credit = InvoiceLine.credit(of: Sample.tenant, -100)
        credit.reason = "x\u{202E}<00.1"
        let billed = try billed(prices(tiered), [], also: [credit], name: "abc\u{202E}00.1-")
        let pages = [
            HTTPResponse.invoice(billed, as: .html, for: reader),
            InvoicePage(reader: reader).response([billed], of: january, hasMore: false),
        ]
        for page in pages.map({ String(decoding: $0.body, as: UTF8.self) }) {
            let names = page.components(separatedBy: "abc\u{202E}00.1-").count - 1
            #expect(names > 0 && page.components(separatedBy: "<bdi>abc\u{202E}00.1-</bdi>").count - 1 == names)
            #expect(page.contains("<bdi>Credit: x\u{202E}&lt;00.1</bdi>"))
        }
    }

    @Test func thePageHasEachAmountOfTheInvoice() throws {
        let billed = try billed(prices(tiered), [("synthetic", 421_337), ("deepgram", 90_061_007)])
        let page = String(decoding: HTTPResponse.invoice(billed, as: .html, for: reader).body, as: UTF8.self)
        for line in billed.invoice.lines {
            #expect(page.contains("<td>\(line.amount)"), "\(line.subject)")
            for tier in line.tiers { #expect(page.contains("<td>\(tier.precise)")) }
        }
        #expect(page.contains("<td>\(billed.invoice.total)</tfoot>") && page.contains("<td>25:01:01.007"))
    }

    /// Whatever the line's own text has, which stays as it is.
    @Test func aTenantReadsItsSessionsAtItsOwnPlace() throws {
        let billed = try billed(prices(tiered), [("synthetic", 5_000)])
        let (invoice, own) = (billed.invoice, BillingReader(issuer: "", isTenant: true))
        let line = invoice.lines[0]
        #expect(own.sessionsURL(line, of: invoice) == "/v1/invoices/2026-01/lines/2026-01/charge-0/sessions")
        #expect(
            reader.sessionsURL(line, of: invoice)
                == "/v1/admin/tenants/\(Sample.tenant)/invoices/2026-01/lines/2026-01/charge-0/sessions")
        #expect(own.sessionsURL(.credit(of: Sample.tenant, 1), of: invoice) == nil)
        for form in [BillingForm.csv, .focus, .html] {
            let text = String(decoding: HTTPResponse.invoice(billed, as: form, for: own).body, as: UTF8.self)
            #expect(text.contains("/v1/invoices/2026-01/lines/2026-01/charge-0/sessions") && !text.contains("engine=b"))
        }
        #expect(billed.document.contains("/v1/admin/usage?engine=b"))
    }
}
