/// Writes CSV as RFC 4180 has it, for programs and for spreadsheets: a cell that a spreadsheet would take for a formula is
/// taken for text by its first character, an apostrophe (https://owasp.org/www-community/attacks/CSV_Injection).
struct CSVText {
    private(set) var bytes: [UInt8] = []

    /// Appends a row; a cell without a value is empty.
    mutating func row(_ cells: [String?]) {
        for (index, cell) in cells.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            if let cell { append(cell) }
        }
        bytes += "\r\n".utf8
    }

    private mutating func append(_ cell: String) {
        let text = Array(cell.utf8)
        let isFormula = text.first.map(Self.formulaBytes.contains) == true && !Self.isNumber(text)
        let shown = isFormula ? [UInt8(ascii: "'")] + text : text
        guard shown.contains(where: Self.quotedBytes.contains) else {
            bytes += shown
            return
        }
        bytes.append(UInt8(ascii: "\""))
        for byte in shown {
            if byte == UInt8(ascii: "\"") { bytes.append(byte) }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static let formulaBytes = Set("=+-@\t\r\n".utf8)
    private static let quotedBytes = Set("\",\r\n".utf8)

    /// Whether it is a sign, or none, and digits, with a point between two of them or without.
    private static func isNumber(_ text: [UInt8]) -> Bool {
        let digits = text.drop { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "-") }
        guard text.count - digits.count <= 1 else { return false }
        let parts = digits.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        return parts.allSatisfy { !$0.isEmpty && $0.allSatisfy { 0x30...0x39 ~= $0 } }
    }
}
