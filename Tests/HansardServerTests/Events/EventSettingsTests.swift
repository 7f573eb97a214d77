import Crypto
import Foundation
import HTTPClient
import Testing

@testable import HansardServer

@Suite struct EventSettingsTests {
    @Test(arguments: [
        ("https://meter.example", "https://meter.example", "/", ""),
        ("HTTPS://Meter.Example:8443/api/v1/events", "https://meter.example:8443", "/api/v1/events", ""),
        ("https://meter.example/a?b=/c?d", "https://meter.example", "/a", "b=/c?d"),
        ("https://meter.example?b", "https://meter.example", "/", "b"),
        ("https://10.0.0.7/x", "https://10.0.0.7", "/x", ""),
        ("https://[fd00::7]:1/x", "https://[fd00::7]:1", "/x", ""),
        ("http://127.0.0.1:8888/x", "http://127.0.0.1:8888", "/x", ""),
        ("http://localhost/", "http://localhost", "/", ""),
        ("http://[::1]:8888", "http://[::1]:8888", "/", ""),
    ])
    func destinationsOverTLSAndOnThisMachine(text: String, origin: String, path: String, query: String) throws {
        let destination = try #require(EventDestination(text))
        #expect(destination.origin == origin && destination.path == path && destination.query == query)
        #expect(EventDestination(destination.description) == destination)
    }

    @Test(arguments: [
        "", "https://", "meter.example", "http://meter.example", "http://10.0.0.7", "http://169.254.169.254/latest",
        "http://127.0.0.1.example", "http://localhost@meter.example", "https://u:p@meter.example",
        "https://m.example#a",
        "https://m.example:0", "https://m.example:x", "https://m.example:65536", "https://[::1", "https://[meter]",
        "https://m.example/a b", "ftp://m.example", "https://m\u{e9}ter.example", "http://[::ffff:127.0.0.1]",
    ])
    func othersAreNone(text: String) { #expect(EventDestination(text) == nil) }

    /// What nobody has decided is as it was made, and a lease is longer than a request.
    @Test func settingsSayHowOftenAndHowLong() {
        let (made, decided) = (UsageEventDelivery.Limits(), UsageEventDelivery.Limits(Settings()))
        #expect(decided.interval == made.interval && decided.makingInterval == made.makingInterval)
        #expect(decided.requestWait == made.requestWait && decided.lease == made.lease)
        #expect(decided.pacing.longestPause == made.pacing.longestPause)
        var settings = Settings()
        settings.rollupInterval = .milliseconds(200)
        settings.eventsTimeout = .seconds(1)
        settings.eventsRetryMax = .seconds(7)
        let limits = UsageEventDelivery.Limits(settings)
        #expect(limits.interval == .milliseconds(200) && limits.makingInterval == .milliseconds(200))
        #expect(limits.requestWait == .seconds(1) && limits.lease == .seconds(3))
        #expect(limits.pacing.longestPause == .seconds(7))
    }

    /// The example of Standard Webhooks' own libraries.
    @Test func signaturesAreThoseOfStandardWebhooks() throws {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        let key = try #require(WebhookSigning.key(secret))
        let text = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}"
        let signature = Data(HMACSHA256.authenticate(Array(text.utf8), key: key)).base64EncodedString()
        #expect(signature == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test func aMessageIsNamedAfterWhatItSaysAndSignedWithEachKey() {
        let secrets = (1...2).map { Secret("whsec_" + Data(repeating: $0, count: 32).base64EncodedString()) }
        func field(_ name: String, _ body: String, _ time: Double, _ signing: WebhookSigning) -> String? {
            signing.headers(of: Array(body.utf8), at: Date(timeIntervalSince1970: time)).first { $0.name == name }?
                .value
        }
        let (one, both) = (WebhookSigning([secrets[0]]), WebhookSigning(secrets))
        #expect(field("webhook-id", "a", 1, one) == field("webhook-id", "a", 2, both))
        #expect(field("webhook-id", "a", 1, one) != field("webhook-id", "b", 1, one))
        #expect(field("webhook-timestamp", "a", 1_700_000_000.9, one) == "1700000000")
        let signatures = field("webhook-signature", "a", 1, both)?.split(separator: " ") ?? []
        #expect(signatures.count == 2 && signatures.allSatisfy { $0.hasPrefix("v1,") })
        #expect(field("webhook-signature", "a", 1, one) == signatures.first.map(String.init))
        #expect(field("webhook-signature", "a", 1, WebhookSigning([])) == nil)
    }

    @Test(arguments: [
        "whsec_", "whsec_short", "whsec_" + Data(count: 23).base64EncodedString(),
        Data(count: 32).base64EncodedString(),
        "whsec_" + Data(count: 65).base64EncodedString(), "whsec_&&&&",
    ])
    func whatIsNoSecretIsNone(text: String) { #expect(WebhookSigning.key(text) == nil) }
}
