import HTTPClient
import Testing

@Suite struct TransferTests {
    @Test func anAddressIsItsParts() {
        var request = TransferRequest(method: "GET", origin: "http://h:1", path: "/a%20b")
        #expect(request.url == "http://h:1/a%20b")
        request.query = "c=d"
        #expect(request.url == "http://h:1/a%20b?c=d")
    }

    @Test func namesOfHeadersHaveNoCase() {
        let response = TransferResponse(status: 200, headers: [.init("ETag", "1"), .init("etag", "2")])
        #expect(response.header("eTag") == "1")
        #expect(response.header("e") == nil)
    }
}
