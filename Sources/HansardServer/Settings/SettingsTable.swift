import Logging

extension Setting {
    /// Every setting, in the order of `--help` and of docs/settings.md.
    public static let all: [Setting] = network + state + speech + operation

    private static let network = [
        Setting("HANSARD_LISTEN", \.listen, .address, "where HTTP and WebSocket are served"),
        Setting(
            "HANSARD_ADMIN_LISTEN",
            \.adminListen,
            .optional(.address),
            "where the admin API is served, and nowhere else; it is part of HANSARD_LISTEN if this is not given"
        ),
        Setting(
            "HANSARD_ADVERTISED_ADDRESS",
            \.advertisedAddress,
            .optional(.hostAndPort),
            default: "HANSARD_LISTEN",
            "how other nodes and people reach this node"
        ),
        Setting("HANSARD_TLS_CERT", \.tlsCertificate, .optional(.file), "PEM file of the certificate and its chain"),
        Setting("HANSARD_TLS_KEY", \.tlsKey, .optional(.file), "PEM file of the certificate's private key"),
        Setting(
            "HANSARD_TRUSTED_PROXIES",
            \.trustedProxies,
            .addressRanges,
            "who must begin each connection with a PROXY protocol v2 header, which is believed"
        ),
        Setting(
            "HANSARD_HANDSHAKES_PER_ADDRESS",
            \.handshakesPerAddress,
            .orNone(.rate(of: "per second", upTo: 1_000_000)),
            development: .value("none"),
            "new connections from one address (IPv6: one /64), in the long run"
        ),
        Setting(
            "HANSARD_HANDSHAKE_BURST",
            \.handshakeBurst,
            .integer(1...1_000_000, of: "connections"),
            "new connections from one address at once, before the rate above counts"
        ),
        Setting(
            "HANSARD_REQUESTS_PER_ADDRESS",
            \.requestsPerAddress,
            .orNone(.integer(1...1_000_000, of: "per minute")),
            "REST calls that this node answers to one address (IPv6: one /64), so many of them at once"
        ),
        Setting(
            "HANSARD_REQUESTS_PER_TOKEN",
            \.requestsPerToken,
            .orNone(.integer(1...1_000_000, of: "per minute")),
            "REST calls that this node answers to one admin token, so many of them at once"
        ),
        Setting(
            "HANSARD_REQUESTS_PER_KEY",
            \.requestsPerKey,
            .orNone(.integer(1...1_000_000, of: "per minute")),
            "REST calls that this node answers to one API key, so many of them at once"
        ),
        Setting(
            "HANSARD_MAX_CONNECTIONS",
            \.maxConnections,
            .integer(1...1_000_000, of: "connections"),
            "connections of all kinds at once; those beyond are closed"
        ),
        Setting(
            "HANSARD_IDLE_TIMEOUT",
            \.idleTimeout,
            .duration(.seconds(1) ... .seconds(3_600)),
            "a session without audio or text for so long is closed (1011)"
        ),
        Setting(
            "HANSARD_DRAIN_DEADLINE",
            \.drainDeadline,
            .duration(.zero ... .seconds(3_600)),
            "how long sessions may go on after SIGTERM before they are closed (1012)"
        ),
        Setting(
            "HANSARD_EVENT_LOOPS",
            \.eventLoops,
            .integer(1...256, of: "threads"),
            default: "one per core",
            "threads that serve connections"
        ),
        Setting(
            "HANSARD_NODE",
            \.node,
            .name("a name"),
            default: "the host's name",
            "this node's name, stable over restarts and like no other's"
        ),
        Setting(
            "HANSARD_REGION",
            \.region,
            .name("a name"),
            default: "AWS_REGION, or local",
            fallback: "AWS_REGION",
            "where this node is, as records and object keys say"
        ),
    ]

    private static let state = [
        Setting(
            "HANSARD_STATE_DIR",
            \.stateDirectory,
            .folder,
            "spool and waiting transcripts; in dev also the private Postgres and dev.env"
        ),
        Setting(
            "HANSARD_SPOOL_MAX_BYTES",
            \.spoolMaxBytes,
            .bytes(ByteCount(1 << 20)...ByteCount(1 << 40)),
            "what the spool may hold; while it is full, new sessions are refused"
        ),
        Setting(
            "HANSARD_SPOOL_MAX_AGE",
            \.spoolMaxAge,
            .duration(.seconds(60) ... .seconds(30 * 86_400)),
            "how long usage may wait in the spool for the ledger; beyond that, new sessions are refused"
        ),
        Setting(
            "HANSARD_DATABASE_URL",
            \.databaseURL,
            .optional(.databaseURL),
            default: "required",
            development: .made("a private cluster"),
            isSecret: true,
            "Postgres: tenants, keys, sessions, usage"
        ),
        Setting(
            "HANSARD_DATABASE_OWNER_URL",
            \.databaseOwnerURL,
            .optional(.databaseURL),
            default: "HANSARD_DATABASE_URL",
            isSecret: true,
            "Postgres as the owner of the tables, for migrate and dev alone"
        ),
        Setting(
            "HANSARD_DATABASE_POOL",
            \.databasePool,
            .integer(2...200, of: "connections"),
            "connections to Postgres at most"
        ),
        Setting(
            "HANSARD_KEY_STALENESS_MAX",
            \.keyStalenessMax,
            .orNone(.duration(.seconds(5) ... .seconds(30 * 86_400))),
            "how long callers are recognised by what was last read of tenants and keys; then they get 503"
        ),
        Setting(
            "HANSARD_MIGRATIONS",
            \.migrations,
            .folder,
            default: "found beside the program, or in /usr/share/hansard",
            "the SQL files that migrate applies"
        ),
        Setting("HANSARD_CONNECTIONS", \.connections, .choice, "which store counts sessions over all nodes"),
        Setting(
            "HANSARD_DYNAMODB_TABLE",
            \.dynamoDBTable,
            .tableName,
            "the table of dynamodb, which `hansard aws init` makes"
        ),
        Setting(
            "HANSARD_ON_LEASE_LOST",
            \.onLeaseLost,
            .choice,
            "whether a session goes on whose slot was freed while its node was cut off from the store"
        ),
        Setting(
            "HANSARD_ADMIT_UNCLAIMED",
            \.admitUnclaimed,
            .choice,
            "whether a session may begin without a slot while the store that counts them is away"
        ),
        Setting(
            "HANSARD_QUOTA_UNAVAILABLE",
            \.quotaUnavailable,
            .optional(.choice),
            default: "what the tenant's policy says: close if hard, continue if soft",
            "what becomes of a session that needs more minutes while the store that grants them is away"
        ),
        Setting(
            "HANSARD_TRANSCRIPTS",
            \.transcripts,
            .optional(.transcripts),
            default: "transcripts in the state dir",
            "where complete transcripts are kept"
        ),
        Setting(
            "HANSARD_S3_ENCRYPTION",
            \.s3Encryption,
            .choice,
            "how the bucket encrypts transcripts; bucket leaves it to the bucket's own default"
        ),
        Setting(
            "HANSARD_S3_KMS_KEY",
            \.s3KMSKey,
            .optional(.keyName),
            default: "none: the account's own for S3",
            "the key of aws:kms: its id, ARN or alias"
        ),
        Setting(
            "HANSARD_S3_ADDRESSING",
            \.s3Addressing,
            .choice,
            "whether the bucket's name is in the host or in the path; auto is what the endpoint and the name suggest"
        ),
        Setting(
            "HANSARD_TRANSCRIPT_STORE_WAIT",
            \.transcriptStoreWait,
            .duration(.zero ... .seconds(60)),
            "how long a session's end waits for the transcript store before the spool keeps the transcript"
        ),
    ]

    private static let speech = [
        Setting("HANSARD_ENGINE", \.engine, .choice, "what sessions use; a tenant may be set to another"),
        Setting(
            "HANSARD_FALLBACK_ENGINE",
            \.fallbackEngine,
            .optional(.choice),
            "what goes on with a session where its first engine fails; a tenant may be set to another"
        ),
        Setting(
            "HANSARD_ENGINE_SLOTS",
            \.engineSlots,
            .optional(.integer(1...10_000, of: "sessions")),
            default: "what the cores carry in real time",
            "local-engine sessions at once; those beyond are refused (503)"
        ),
        Setting(
            "HANSARD_ENGINE_SPEED",
            \.engineSpeed,
            .rate(of: "times", upTo: 100),
            "how much faster than it is spoken an engine elsewhere may be sent audio; 1 is what live services want"
        ),
        Setting(
            "HANSARD_ENGINE_AUTHORITIES",
            \.engineAuthorities,
            .optional(.file),
            default: "the system's",
            "PEM file of authorities that engines elsewhere may be certified by, besides the system's"
        ),
        Setting(
            "HANSARD_TRANSCRIBE_STREAM_LIMIT",
            \.transcribeStreamLimit,
            .duration(AmazonTranscribe.streamLimits),
            "audio after which a session goes on in another stream of Amazon Transcribe, whose own limit is 4h"
        ),
        Setting(
            "HANSARD_TRANSCRIBE_SIGNING",
            \.transcribeSigning,
            .choice,
            "whether each message to Amazon Transcribe is signed, or the handshake alone"
        ),
        Setting(
            "HANSARD_TRANSCRIBE_LANGUAGES",
            \.transcribeLanguages,
            .transcribeLanguages,
            "what language=multi chooses from with Amazon Transcribe, one dialect of each language"
        ),
        Setting(
            "HANSARD_DEEPGRAM_URL",
            \.deepgramURL,
            .webSocketURL,
            "the server of the engine deepgram: another Hansard, Deepgram, or any that speaks the listen protocol"
        ),
        Setting(
            "HANSARD_DEEPGRAM_KEY",
            \.deepgramKey,
            .optional(.secret),
            default: "none",
            isSecret: true,
            "an API key of that server's"
        ),
        Setting("HANSARD_MODEL_DIR", \.modelDirectory, .folder, "PocketSphinx's models for English"),
    ]

    private static let operation = [
        Setting(
            "HANSARD_SECRET",
            \.secrets,
            .secrets,
            default: "required",
            development: .made("generated once"),
            isSecret: true,
            "key for the codes in access tokens; two, comma-separated, while rotating"
        ),
        Setting(
            "HANSARD_CLOSE_GRACE",
            \.closeGrace,
            .duration(.zero ... .seconds(30 * 86_400)),
            "how long after its end a month is closed at the earliest: usage that is on its way is billed with it"
        ),
        Setting(
            "HANSARD_INVOICE_ISSUER",
            \.invoiceIssuer,
            .title,
            "what stands on invoices as who made them out, and in FOCUS as the provider"
        ),
        Setting(
            "HANSARD_USAGE_RECORDS_DAYS",
            \.usageRecordsDays,
            .integer(31...36_500, of: "days"),
            "how long after its end the usage records of a closed month stay; totals and sums stay for ever"
        ),
        Setting(
            "HANSARD_ROLLUP_INTERVAL",
            \.rollupInterval,
            .duration(.milliseconds(100) ... .seconds(600)),
            "how often usage is summed up by hour and day, and events are made of it"
        ),
        Setting(
            "HANSARD_EVENTS_URL",
            \.eventsURL,
            .optional(.eventDestination),
            "where usage events are sent; http:// only to this machine"
        ),
        Setting(
            "HANSARD_EVENTS_SECRET",
            \.eventsSecrets,
            .webhookSecrets,
            isSecret: true,
            "what usage events are signed with (Standard Webhooks), and without it they are not; two, comma-separated, while rotating"
        ),
        Setting(
            "HANSARD_EVENTS_AUTHORIZATION",
            \.eventsAuthorization,
            .optional(.credentials),
            isSecret: true,
            "the value of Authorization that usage events are sent with, such as Bearer and a token"
        ),
        Setting(
            "HANSARD_EVENTS_SOURCE",
            \.eventsSource,
            .eventSource,
            "the source of usage events, which tells this installation from others; to change it is to tell all anew"
        ),
        Setting(
            "HANSARD_EVENTS_TIMEOUT",
            \.eventsTimeout,
            .duration(.seconds(1) ... .seconds(60)),
            "how long the receiver of usage events may take to answer; where a node died, another delivers after three times as long"
        ),
        Setting(
            "HANSARD_EVENTS_RETRY_MAX",
            \.eventsRetryMax,
            .duration(.seconds(1) ... .seconds(86_400)),
            "how long the receiver of usage events is left alone at most, however often it failed"
        ),
        Setting(
            "HANSARD_EVENTS_AUTHORITIES",
            \.eventsAuthorities,
            .optional(.file),
            default: "the system's",
            "PEM file of authorities that the receiver of usage events may be certified by, besides the system's"
        ),
        Setting(
            "HANSARD_OPENAPI",
            \.openAPI,
            .file,
            default: "found beside the program, or in /usr/share/hansard",
            "the API's description that is served at /openapi.yaml"
        ),
        Setting("HANSARD_LOG_LEVEL", \.logLevel, .choice, "the least important messages that are logged"),
        Setting(
            "HANSARD_LOG_FORMAT",
            \.logFormat,
            .choice,
            "how messages are written to standard error; auto is text in a terminal, else json"
        ),
    ]
}
