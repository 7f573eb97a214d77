import Testing

@testable import HansardServer

/// CSV as programs and spreadsheets read it.
@Suite struct CSVTextTests {
    private func line(_ cells: String?...) -> String {
        var text = CSVText()
        text.row(cells)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    @Test func rowsEndInCRLFAndMissingValuesAreEmpty() {
        #expect(line("a", nil, "", "b c") == "a,,,b c\r\n")
        var text = CSVText()
        text.row(["a"])
        text.row(["1", "2"])
        #expect(String(decoding: text.bytes, as: UTF8.self) == "a\r\n1,2\r\n")
    }

    @Test func whatDividesIsQuoted() {
        #expect(
            line("a,b", "say \"so\"", "two\nlines", "two\r\nlines")
                == "\"a,b\",\"say \"\"so\"\"\",\"two\nlines\",\"two\r\nlines\"\r\n")
        #expect(line("Ünïcödé", "日本語", "👩‍👩‍👧", "e\u{301}") == "Ünïcödé,日本語,👩‍👩‍👧,e\u{301}\r\n")
    }

    @Test(arguments: [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"), ("\rx", "\"'\rx\""), ("\n=x", "\"'\n=x\""), ("=\"a\"", "\"'=\"\"a\"\"\""),
        ("=a,b", "\"'=a,b\""), ("-", "'-"),
        ("--1", "'--1"), ("+-1", "'+-1"), ("-1-1", "'-1-1"), ("-1.", "'-1."), ("-.5", "'-.5"), ("+1e5", "'+1e5"),
        ("-5", "-5"), ("+5", "+5"), ("-5.25", "-5.25"), ("a=1", "a=1"), ("'=1", "'=1"), (" =1", " =1"),
    ])
    func aFormulaIsText(_ cell: String, _ written: String) {
        #expect(line(cell) == written + "\r\n")
    }
}
