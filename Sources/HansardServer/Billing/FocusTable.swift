import FoundationEssentials
import Hansard

/// Invoices in the open cost and usage format FOCUS 1.0 (https://focus.finops.org/focus-specification/v1-0/): a row for each price
/// of each line, and for what was included. `BilledCost` is money that changes hands: its rows add up to the invoice.
struct FocusTable {
    /// A part of a line that has one price.
    struct Part: Equatable {
        /// What tells its price from the line's others.
        var name: String
        var milliseconds: Int64
        var unitPrice: String
        var precise: Amount
    }

    /// The columns that the specification has, in its order, then ours, whose names begin with `x_` as it asks.
    static let columns = [
        "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency",
        "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription",
        "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId",
        "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity",
        "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost",
        "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
        "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName",
        "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags", "x_InvoiceNumber", "x_Engine", "x_Language",
        "x_Sessions", "x_SessionsUrl",
    ]

    let reader: BillingReader

    func write(_ billed: [BilledTenant], into text: inout CSVText) {
        text.row(Self.columns)
        for one in billed {
            for line in one.invoice.lines {
                let parts = Self.parts(of: line)
                let shares = line.amount.shares(for: parts.map(\.precise))
                for (place, (part, share)) in zip(parts, shares).enumerated() {
                    let values = values(part, costs: share, of: line, isFirst: place == 0, billed: one)
                    text.row(Self.columns.map { values[$0] ?? nil })
                }
            }
        }
    }

    /// What was included first, then tiers; the whole line where there are none.
    static func parts(of line: InvoiceLine) -> [Part] {
        guard line.unit != nil else {
            let isTime = line.subject == .unpriced
            return [
                Part(
                    name: isTime ? "unpriced" : "total", milliseconds: line.billed,
                    unitPrice: isTime ? "0" : Self.magnitude(line.precise).description, precise: line.precise)
            ]
        }
        var parts = line.tiers.map {
            Part(
                name: "tier-\($0.tier)", milliseconds: $0.milliseconds, unitPrice: $0.unitPrice.description,
                precise: $0.precise)
        }
        if line.included != 0 || parts.isEmpty {
            let included = parts.isEmpty ? line.billed : line.included
            parts.insert(Part(name: "included", milliseconds: included, unitPrice: "0", precise: .zero), at: 0)
        }
        return parts
    }

    /// A row by its columns; those that have no value in it are missing.
    private func values(
        _ part: Part, costs share: Money, of line: InvoiceLine, isFirst: Bool, billed: BilledTenant
    ) -> [String: String?] {
        let invoice = billed.invoice
        var values: [String: String?] = [
            "BilledCost": share.description, "EffectiveCost": share.description,
            "ListCost": part.precise.description, "ContractedCost": part.precise.description,
            "BillingAccountId": invoice.tenant.description, "BillingAccountName": billed.name,
            "BillingCurrency": invoice.currency.code, "BillingPeriodStart": Self.day(invoice.period.start),
            "BillingPeriodEnd": Self.day(invoice.period.end), "ChargePeriodStart": Self.day(line.period.start),
            "ChargePeriodEnd": Self.day(line.period.end), "ChargeDescription": line.title,
            "ChargeClass": line.kind == .adjustment ? "Correction" : nil, "InvoiceIssuerName": reader.issuer,
            "ProviderName": reader.issuer, "PublisherName": reader.issuer, "ServiceCategory": "AI and Machine Learning",
            "ServiceName": "Transcription", "x_InvoiceNumber": invoice.number.map(String.init), "x_Engine": line.engine,
            "x_Language": line.language,
            // Once for the line, so that sums count each session once.
            "x_Sessions": isFirst ? "\(line.sessions)" : "0", "x_SessionsUrl": reader.sessionsURL(line, of: invoice),
        ]
        values.merge(kind(of: part, line)) { $1 }
        return values
    }

    private func kind(of part: Part, _ line: InvoiceLine) -> [String: String?] {
        let sku = [line.plan?.description, line.subject.name].compactMap { $0 }.joined(separator: "/")
        let price = [line.plan?.description, line.version.map { "v\($0)" }, line.subject.name, part.name]
            .compactMap { $0 }.joined(separator: "/")
        let priced: [String: String?] = [
            "SkuId": sku, "SkuPriceId": price, "ListUnitPrice": part.unitPrice, "ContractedUnitPrice": part.unitPrice,
        ]
        switch line.subject {
        case .charge, .unpriced:
            let unit = line.unit ?? .minute
            return priced.merging([
                "ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based", "PricingCategory": "Standard",
                "PricingQuantity": unit.quantity(of: part.milliseconds),
                "PricingUnit": unit == .minute ? "Minutes" : "Hours",
                "ConsumedQuantity": Self.seconds(part.milliseconds), "ConsumedUnit": "Seconds",
            ]) { $1 }
        case .commitment:
            // The least that a month costs, agreed upon beforehand. "Committed" is what a commitment discount covers, which has
            // an id.
            return priced.merging([
                "ChargeCategory": "Purchase", "ChargeFrequency": "Recurring", "PricingCategory": "Standard",
                // Prices are never below zero: late usage takes months back.
                "PricingQuantity": part.precise < .zero ? "-1" : "1", "PricingUnit": "Months",
            ]) { $1 }
        case .credit:
            return [
                "ChargeCategory": line.amount.minor < 0 ? "Credit" : "Adjustment", "ChargeFrequency": "One-Time",
            ]
        }
    }

    private static func magnitude(_ amount: Amount) -> Amount { amount < .zero ? Amount.zero - amount : amount }

    /// The date and time format of the specification: ISO 8601 in UTC, to the second.
    private static func day(_ date: Date) -> String { date.formatted(.iso8601) }

    private static func seconds(_ milliseconds: Int64) -> String {
        let rest = String(milliseconds.magnitude % 1_000)
        let padded = String(repeating: "0", count: 3 - rest.utf8.count) + rest
        return "\(milliseconds < 0 ? "-" : "")\(milliseconds.magnitude / 1_000).\(padded)"
    }
}
