import HTTPClient
import Testing

@testable import AWS

@Suite struct S3ListingTests {
    /// A list as S3 writes it.
    static func document(count: Int, token: String? = nil) -> String {
        let objects = (0..<count).map { number in
            """
            <Contents><Key>a%2Fb+c%2B\(number)</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
            <ETag>&quot;0&quot;</ETag><Size>\(number)</Size><StorageClass>STANDARD</StorageClass></Contents>
            """
        }
        return """
            <?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>box</Name><Prefix>a%2F</Prefix>\
            <EncodingType>url</EncodingType><IsTruncated>\(token != nil)</IsTruncated>\
            \(token.map { "<NextContinuationToken>\($0)</NextContinuationToken>" } ?? "")\(objects.joined())\
            <CommonPrefixes><Prefix>a%2F%C3%A9%2F</Prefix></CommonPrefixes></ListBucketResult>
            """
    }

    @Test func aListIsAskedForInFull() async throws {
        let caller = S3ScriptedCaller([.ok([], Self.document(count: 2, token: "1/x+y=&amp;"))])
        let page = try await s3(caller).listObjects(prefix: "a/", startAfter: "a/b c", delimiter: "/", limit: 7)
        let request = try #require(caller.requests.first)
        #expect(request.operation == "ListObjectsV2")
        #expect(request.isRepeatable)
        #expect(request.transfer.method == "GET")
        #expect(request.transfer.origin == "https://box.s3.eu-west-1.amazonaws.com")
        #expect(request.transfer.path == "/")
        #expect(
            request.transfer.query
                == "delimiter=%2F&encoding-type=url&list-type=2&max-keys=7&prefix=a%2F&start-after=a%2Fb%20c")
        #expect(request.transfer.headers == [])
        #expect(page.objects == [S3ListedObject(key: "a/b c+0", size: 0), S3ListedObject(key: "a/b c+1", size: 1)])
        #expect(page.commonPrefixes == ["a/é/"])
        #expect(page.continuation == "1/x+y=&")
    }

    @Test func aListGoesOn() async throws {
        let caller = S3ScriptedCaller([.ok([], Self.document(count: 0))])
        let page = try await s3(caller, addressing: .path).listObjects(startAfter: "x", continuation: "1/x+y=")
        #expect(page.objects.isEmpty)
        #expect(page.continuation == nil)
        #expect(caller.requests.first?.transfer.path == "/box")
        #expect(
            caller.requests.first?.transfer.query
                == "continuation-token=1%2Fx%2By%3D&encoding-type=url&list-type=2&max-keys=1000")
    }

    @Test func keysThatWereNotEncodedAreKeptAsTheyAre() async throws {
        let list = "<ListBucketResult><Contents><Key>a+%41</Key><Size>1</Size></Contents></ListBucketResult>"
        #expect(try await s3(S3ScriptedCaller([.ok([], list)])).listObjects().objects.map(\.key) == ["a+%41"])
    }

    @Test(arguments: [
        "", "not XML", "<Error/>", "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key></Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%</Key><Size>1</Size></Contents>"
            + "</ListBucketResult>",
    ]) func aListThatCannotBeReadIsAnError(text: String) async {
        let caller = S3ScriptedCaller([.ok([], text)])
        let error = await awsError { _ = try await s3(caller).listObjects() }
        #expect(error?.code == "UnreadableResponse")
        #expect(error?.operation == "ListObjectsV2")
    }
}
