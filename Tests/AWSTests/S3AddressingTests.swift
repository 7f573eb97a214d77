import Testing

@testable import AWS

@Suite struct S3AddressingTests {
    @Test(arguments: [
        ("https://s3.eu-west-1.amazonaws.com", "box", "https://box.s3.eu-west-1.amazonaws.com", "/a/b"),
        ("https://s3.example.net:9000", "box", "https://box.s3.example.net:9000", "/a/b"),
        ("https://s3.eu-west-1.amazonaws.com", "my.box", "https://s3.eu-west-1.amazonaws.com", "/my.box/a/b"),
        ("http://127.0.0.1:4566", "box", "http://127.0.0.1:4566", "/box/a/b"),
        ("http://[::1]:4566", "box", "http://[::1]:4566", "/box/a/b"),
        ("http://localhost:4566", "box", "http://localhost:4566", "/box/a/b"),
        ("http://s3.localhost:4566", "box", "http://s3.localhost:4566", "/box/a/b"),
        ("http://minio:9000", "box", "http://minio:9000", "/box/a/b"),
    ]) func theBucketIsWhereTheEndpointAllows(origin: String, bucket: String, expected: String, path: String) {
        let address = S3Addressing.automatic.address(origin: origin, bucket: bucket, key: "a/b")
        #expect(address.origin == expected)
        #expect(address.path == path)
    }

    @Test func aSettingOverrules() {
        let aws = "https://s3.eu-west-1.amazonaws.com"
        #expect(S3Addressing.path.address(origin: aws, bucket: "box", key: "k") == (aws, "/box/k"))
        #expect(S3Addressing.path.address(origin: aws, bucket: "box", key: nil) == (aws, "/box"))
        let hosted = S3Addressing.virtualHosted.address(origin: "http://localhost:1", bucket: "a.b", key: "k")
        #expect(hosted == ("http://a.b.localhost:1", "/k"))
        #expect(S3Addressing.automatic.address(origin: aws, bucket: "box", key: nil).path == "/")
        #expect(S3Addressing.allCases.map(\.rawValue) == ["auto", "virtual", "path"])
    }

    /// Written out by RFC 3986 and S3's rule that a key is encoded once and its slashes stay.
    @Test(arguments: [
        ("a/b-c_d.e~f", "a/b-c_d.e~f"), ("a b+c", "a%20b%2Bc"), ("100%25", "100%2525"), ("é/语", "%C3%A9/%E8%AF%AD"),
        ("a//b/../c", "a//b/../c"), ("*'()!", "%2A%27%28%29%21"), ("a?b#c&d=e", "a%3Fb%23c%26d%3De"),
        ("\u{0}\u{7F}", "%00%7F"), ("", ""),
    ]) func keysAreEncodedOnce(key: String, encoded: String) {
        #expect(S3Encoding.path(key) == encoded)
    }

    @Test func queriesEncodeSlashesToo() {
        #expect(S3Encoding.query([("prefix", "a/b c"), ("uploads", "")]) == "prefix=a%2Fb%20c&uploads=")
        #expect(S3Encoding.query([]) == "")
    }

    @Test func whatIsEncodedIsDecoded() {
        var random = S3Random(seed: 11)
        for _ in 0..<2_000 {
            let key = String((0..<8).map { _ in Character(random.scalar()) })
            #expect(S3Encoding.decode(S3Encoding.path(key)) == key)
        }
        #expect(S3Encoding.decode("a+b%2Bc%2b") == "a b+c+")
        for text in ["%", "%4", "%4G", "%+1", "%FF", "a%C3"] { #expect(S3Encoding.decode(text) == nil, "\(text)") }
    }
}

@Suite struct S3LocationTests {
    @Test(arguments: [
        ("s3://box", "box", ""), ("s3://box/", "box", ""), ("s3://my.box-1/a", "my.box-1", "a"),
        ("s3://box/a/b c/é/", "box", "a/b c/é"),
    ]) func aLocationIsABucketAndAPrefix(text: String, bucket: String, prefix: String) throws {
        let location = try #require(S3Location(text))
        #expect(location.bucket == bucket)
        #expect(location.prefix == prefix)
        #expect(S3Location(location.description) == location)
        #expect(location.key("k") == (prefix.isEmpty ? "k" : "\(prefix)/k"))
    }

    @Test(arguments: [
        "", "box", "/box", "s3:/box", "s3://", "s3:///a", "S3://box", "s3://bo", "s3://Box", "s3://b_x",
        "s3://-box", "s3://box-", "s3://b..x", "s3://box//a", "s3://box/a//b", "s3://box/../a", "s3://box/./a",
        "s3://box/a/..", "s3://box/a\nb", "s3://user:pass@box/a", "https://box.s3.amazonaws.com/a",
        "s3://" + String(repeating: "a", count: 64), "s3://box/" + String(repeating: "a", count: 513),
    ]) func otherTextIsNoLocation(text: String) {
        #expect(S3Location(text) == nil)
    }
}

/// The same numbers at every run (SplitMix64).
struct S3Random: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// Any scalar value, mostly of the first thousand.
    mutating func scalar() -> Unicode.Scalar {
        let limit: UInt32 = Bool.random(using: &self) ? 0x400 : 0x10FFFF
        while true {
            if let scalar = Unicode.Scalar(UInt32.random(in: 0...limit, using: &self)) { return scalar }
        }
    }
}
