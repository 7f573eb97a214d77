import Hansard

/// What a plan's version looks like in the API and in the database: one reader and one writer for both.
extension PlanVersion {
    /// Milliseconds that sessions are rounded up to multiples of.
    static let increments = Int(sessionRange.lowerBound)...Int(sessionRange.upperBound)
    /// Milliseconds that a session is billed at least.
    static let minimums = 0...Int(sessionRange.upperBound)
    /// Units that a tier may end at.
    static let tierEnds = Int(unitRange.lowerBound)...Int(unitRange.upperBound)
    /// Minutes that may be included.
    static let inclusions = 0...Int(unitRange.upperBound)

    /// Reads all fields of a body.
    ///
    /// - Throws: `.invalid` for a field that no version can have so, `.contradictory` for fields that do not go together: tiers
    ///   that leave a time without one price, and charges that nothing comes to.
    init(_ body: inout ObjectReader) throws {
        self.init(
            currency: try body.required("currency") { try $0.currency() },
            time: try body.optional("billed_time", { try $0.name() }) ?? .audio,
            increment: Int64(try body.optional("increment_ms", { try $0.integer(Self.increments) }) ?? 1),
            minimum: Int64(try body.optional("minimum_ms", { try $0.integer(Self.minimums) }) ?? 0),
            commitment: try body.optional("commitment", { try $0.price() }) ?? .zero,
            charges: try body.required("charges") { field in
                try field.list(1...Self.chargeLimit) { try Charge($0) }
            })
        try body.end()
        do throws(HansardError) {
            try check()
        } catch {
            var error = error
            error.code = .contradictory
            throw error
        }
    }

    /// The same as a document.
    var document: [UInt8] {
        var text = JSONText()
        text.object { write(into: &$0) }
        return text.bytes
    }

    func write(into text: inout JSONText) {
        text.field("currency", currency.code)
        text.field("billed_time", time.rawValue)
        text.field("increment_ms", Int(increment))
        text.field("minimum_ms", Int(minimum))
        text.field("commitment", commitment.description)
        text.array("charges") { text in
            for charge in charges { text.object { charge.write(into: &$0) } }
        }
    }
}

extension Charge {
    /// Characters of a language, as tenants' `allowed_languages` have it.
    static let languageLength = 2...35

    fileprivate init(_ field: JSONField) throws {
        var object = try field.object()
        var (engine, language): (String?, String?)
        // Not of this server alone: a misspelt name would be a charge that nobody pays.
        try object.nullable("engine", { try $0.name(EngineChoice.self) }) { engine = $0?.rawValue }
        try object.nullable("language", { try $0.text(Self.languageLength) }) { language = $0 }
        self.init(
            engine: engine, language: language,
            unit: try object.optional("unit", { try $0.name() }) ?? .minute,
            mode: try object.optional("mode", { try $0.name() }) ?? .graduated,
            includedMinutes: Int64(
                try object.optional("included_minutes", { try $0.integer(PlanVersion.inclusions) }) ?? 0),
            tiers: try object.required("tiers") { field in
                try field.list(1...PlanVersion.tierLimit) { try Tier($0) }
            })
        try object.end()
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("engine", orNull: engine)
        text.field("language", orNull: language)
        text.field("unit", unit.rawValue)
        text.field("mode", mode.rawValue)
        text.field("included_minutes", Int(includedMinutes))
        text.array("tiers") { text in
            for tier in tiers {
                text.object { text in
                    text.field("up_to", orNull: tier.upTo.map { Int($0) })
                    text.field("unit_price", tier.unitPrice.description)
                }
            }
        }
    }
}

extension Tier {
    fileprivate init(_ field: JSONField) throws {
        var object = try field.object()
        var upTo: Int64?
        try object.nullable("up_to", { try $0.integer(PlanVersion.tierEnds) }) { upTo = $0.map { Int64($0) } }
        self.init(upTo: upTo, unitPrice: try object.required("unit_price") { try $0.price() })
        try object.end()
    }
}

extension JSONField {
    /// A currency by its code.
    func currency() throws(HansardError) -> Currency {
        guard case .string(let code) = value, let currency = Currency(code) else {
            throw wrong("the code of a currency in ISO 4217, such as 'EUR'")
        }
        return currency
    }

    /// A sum of money.
    func price() throws(HansardError) -> Price {
        switch value {
        case .string(let text):
            if let price = Price(text) { return price }
            throw wrong(
                "a decimal such as '0.0043', from 0 to \(Price.most), with at most \(Price.places) places after the point"
            )
        case .integer, .number:
            throw wrong("a string such as '0.0043', not a number: those may be rounded on their way here")
        default:
            throw wrong("a string such as '0.0043', not \(value.kind)")
        }
    }

    /// A UTC month.
    func period() throws(HansardError) -> QuotaPeriod {
        guard case .string(let text) = value, let period = QuotaPeriod(text) else {
            throw wrong("a month such as '2026-11', in UTC")
        }
        return period
    }
}
