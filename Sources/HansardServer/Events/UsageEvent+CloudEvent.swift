import Hansard

extension UsageEvent {
    /// The type of events.
    static let cloudEventType = "hansard.usage"

    /// As CloudEvents 1.0.2 has it in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
    ///
    /// - Parameter source: which installation it is of. Receivers take two events of one source and id for the same.
    func write(into text: inout JSONText, source: String) {
        text.object { text in
            text.field("specversion", "1.0")
            text.field("id", id)
            text.field("source", source)
            text.field("type", Self.cloudEventType)
            text.field("subject", tenant.description)
            text.field("time", Timestamp.format(usedUntil))
            text.field("datacontenttype", "application/json")
            text.object("data") { text in
                text.field("session_id", session.description)
                text.field("segment", segment)
                text.field("start_time", Timestamp.format(hour))
                text.field("end_time", Timestamp.format(hourEnd))
                text.field("revision", revision)
                text.field("audio_ms", Int(counters.audio))
                text.field("connected_ms", Int(counters.connected))
                text.field("engine_ms", Int(counters.engine))
                text.field("sessions", sessions)
                text.field("key_id", key.rawValue)
                text.field("engine", engine)
                text.field("model", model)
                text.field("language", language)
                text.field("region", region)
                text.field("tags", tags)
                text.field("channels", channels)
            }
        }
    }

    /// The event as a document by itself.
    func cloudEvent(source: String) -> [UInt8] {
        var text = JSONText()
        write(into: &text, source: source)
        return text.bytes
    }
}
