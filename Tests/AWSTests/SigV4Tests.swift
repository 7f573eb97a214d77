import Crypto
import Foundation
import HTTPClient
import Testing

@testable import AWS

@Suite struct SigV4Tests {
    /// The credentials of the examples in S3's API reference.
    private static let credentials = AWSCredentials(
        accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    /// 2013-05-24 00:00:00 UTC.
    private static let date = Date(timeIntervalSince1970: 1_369_353_600)

    private func signer(_ service: String = "s3", token: String? = nil, keys: SigningKeys? = nil) -> SigV4 {
        var credentials = Self.credentials
        credentials.sessionToken = token
        return SigV4(credentials: credentials, region: "us-east-1", service: service, date: Self.date, keys: keys)
    }

    /// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Example: PUT Object"
    @Test func publishedPut() {
        let request = TransferRequest(
            method: "PUT", origin: "https://examplebucket.s3.amazonaws.com", path: "/test%24file.text",
            headers: [
                TransferHeader("Date", "Fri, 24 May 2013 00:00:00 GMT"),
                TransferHeader("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ], body: Array("Welcome to Amazon S3.".utf8))
        let expected = """
            AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
            SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, \
            Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd
            """
        #expect(signer().sign(request).header("Authorization") == expected)
        // A hash that was known before makes no difference.
        let hash = SHA256.hash(request.body).hexadecimal
        #expect(signer().sign(request, payload: .precomputed(hash)) == signer().sign(request))
    }

    /// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    @Test func publishedPresignedGet() {
        let request = TransferRequest(
            method: "GET", origin: "https://examplebucket.s3.amazonaws.com", path: "/test.txt")
        let expected = """
            https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
            &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
            &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404
            """
        #expect(signer().presign(request, expiringAfter: .seconds(86_400)).url == expected)
    }

    @Test func signingAgainReplacesWhatWasSigned() {
        let request = TransferRequest(method: "PUT", origin: "http://127.0.0.1:9000", path: "/b/k", body: [1])
        let once = signer(token: "old").sign(request)
        var later = signer(token: "new")
        later.date += 60
        #expect(later.sign(once) == later.sign(request))
        #expect(later.sign(once).headers.count(where: { $0.name == "Authorization" }) == 1)
    }

    @Test func presignedTokenIsSignedUnlessToldOtherwise() {
        let request = TransferRequest(method: "GET", origin: "https://b.s3.amazonaws.com", path: "/k", query: "x=1")
        let presigned = signer(token: "a/b+c=").presign(request, expiringAfter: .seconds(60))
        #expect(presigned.query.contains("&X-Amz-Security-Token=a%2Fb%2Bc%3D&X-Amz-Signature="))
        var unsigned = signer(token: "a/b+c=")
        unsigned.signsSessionToken = false
        let appended = unsigned.presign(request, expiringAfter: .seconds(60)).query
        let withoutToken = signer().presign(request, expiringAfter: .seconds(60)).query
        #expect(appended == withoutToken + "&X-Amz-Security-Token=a%2Fb%2Bc%3D")
    }

    @Test func s3TakesThePathAsItIs() {
        func signature(_ path: String, _ service: String) -> String? {
            signer(service).sign(TransferRequest(method: "GET", origin: "https://h", path: path)).header(
                "Authorization")
        }
        #expect(signature("/a//b/../c", "s3") != signature("/a/c", "s3"))
        #expect(signature("/a//b/../c", "sts") == signature("/a/c", "sts"))
        #expect(signature("", "s3") == signature("/", "s3"))
    }

    @Test func unsignedPayloadIsSaidSo() {
        let request = TransferRequest(method: "POST", origin: "https://h", body: [1, 2])
        let signed = signer("service").sign(request, payload: .unsigned)
        #expect(signed.header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD")
        #expect(signed.header("Authorization")?.contains("x-amz-content-sha256") == true)
        #expect(signer("service").sign(request).header("x-amz-content-sha256") == nil)
    }

    @Test func theQueryIsSpelledInOneWay() {
        func canonical(_ query: String) -> String? {
            let request = TransferRequest(method: "GET", origin: "https://h", query: query)
            let lines = String(
                decoding: CanonicalRequest(request, pathRule: .asIs).bytes(payloadHash: ""), as: UTF8.self)
            return lines.split(separator: "\n", omittingEmptySubsequences: false)[2].description
        }
        #expect(canonical("") == "")
        #expect(canonical("b=2&a=1&a=0&a") == "a=&a=0&a=1&b=2")
        #expect(canonical("a-=1&a=2") == "a=2&a-=1")
        #expect(canonical("%7e=%2f&k=a+b") == "k=a%2Bb&~=%2F")
        #expect(canonical("%=%4&%zz=%ä&&") == "%25=%254&%25zz=%25%C3%A4")
        #expect(canonical("=v&k==") == "=v&k=%3D")
    }

    @Test(arguments: [
        ("https://H.example:443", "h.example"), ("http://h:80", "h"), ("https://h:80", "h:80"),
        ("http://[::1]:8000", "[::1]:8000"), ("http://h:443", "h:443"), ("https://h:8443", "h:8443"),
    ])
    func hostIsThatOfTheOrigin(origin: String, host: String) {
        #expect(CanonicalRequest.host(of: origin) == host)
    }

    @Test func timesAreThoseOfTheCalendar() {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "yyyyMMdd'T'HHmmss'Z'"
        // Each day from 1969 to 2101 at some second of it; leap days, centuries and the time before 1970 are among them.
        for day in -366...47_900 {
            let date = Date(timeIntervalSince1970: Double(day * 86_400 + (day &* 7_919) % 86_400) + 0.9)
            let time = SigningTime(date)
            guard time.timestamp != formatter.string(from: date) || time.day != time.timestamp.prefix(8) else {
                continue
            }
            Issue.record("\(time.timestamp) is \(formatter.string(from: date))")
            return
        }
    }
}

@Suite struct SigningKeysTests {
    @Test func keptKeysAreThoseThatWouldBeDerived() {
        let keys = SigningKeys()
        // More than are kept, asked for in turns, and each part of the name counts.
        for round in 0..<3 {
            for index in 0..<(SigningKeys.maximumCount + 4) {
                let parts = ["s", "d", "r", "v"].enumerated().map { $0 == index % 4 ? "\($1)\(index)" : $1 }
                let kept = keys.key(secret: parts[0], day: parts[1], region: parts[2], service: parts[3])
                let derived = SigningKeys.derive(secret: parts[0], day: parts[1], region: parts[2], service: parts[3])
                #expect(kept == derived, "round \(round), key \(index)")
            }
        }
    }

    @Test func nothingOfThemIsDescribed() {
        let keys = SigningKeys()
        let key = keys.key(secret: "sesame", day: "20150830", region: "r", service: "s")
        let signer = SigV4(
            credentials: AWSCredentials(accessKeyID: "AKID", secretAccessKey: "sesame", sessionToken: "open"),
            region: "r", service: "s", date: Date(timeIntervalSince1970: 0), keys: keys)
        var dumped = ""
        dump(keys, to: &dumped)
        for text in ["\(keys)", String(reflecting: keys), dumped, "\(signer)", String(reflecting: signer)] {
            #expect(!text.contains("sesame") && !text.contains("\(key)") && !text.contains("open"), "\(text)")
        }
    }
}
