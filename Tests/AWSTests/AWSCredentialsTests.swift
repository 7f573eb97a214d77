import AWS
import Testing

@Suite struct AWSCredentialsTests {
    @Test func secretsAreNotDescribed() {
        let credentials = AWSCredentials(accessKeyID: "AKID", secretAccessKey: "sesame", sessionToken: "open")
        for text in ["\(credentials)", String(reflecting: credentials), "\([credentials])"] {
            #expect(text.contains("AKID") && !text.contains("sesame") && !text.contains("open"))
        }
    }
}
