import Foundation
import Hansard
import Logging
import Web

extension EngineRegistry {
    /// The engines that a node with these settings has, without making them.
    static func names(_ settings: Settings, hasAWS: Bool) -> [String] {
        let local: [EngineChoice] = [settings.engine, settings.fallbackEngine].compactMap { $0 }
        return Set(
            ["synthetic"] + (local.contains(.pocketsphinx) ? ["pocketsphinx"] : [])
                + (hasAWS ? ["amazon-transcribe"] : []) + (settings.deepgramKey == nil ? [] : ["deepgram"])
        ).sorted()
    }

    /// Makes the engines that settings name, and those that a tenant may be set to because what they need is there.
    ///
    /// - Parameter aws: what a node has of AWS; nil if nothing of it is set up.
    /// - Throws: `.unavailable` if the local engine's model is missing, `.invalid` for a wrong setting.
    static func load(_ settings: Settings, aws: AWSStores?, logger: Logger) async throws -> EngineRegistry {
        let chosen = Set([settings.engine, settings.fallbackEngine].compactMap { $0 })
        var engines: [String: any SpeechEngine] = ["synthetic": SyntheticEngine()]
        if chosen.contains(.pocketsphinx) {
            let cores = ProcessInfo.processInfo.activeProcessorCount
            let slots = settings.engineSlots ?? cores * PocketSphinxEngine.slotsPerCore
            logger.info("loading the local engine", metadata: ["slots": "\(slots)"])
            engines["pocketsphinx"] = try await PocketSphinxEngine.load(folder: settings.modelDirectory, slots: slots) {
                logger.debug("a decoder is ready", metadata: ["ready": "\($0)", "slots": "\(slots)"])
            }
        }
        if let aws {
            let service = try aws.amazonTranscribe(settings)
            engines["amazon-transcribe"] = RelayEngine(service: service, logger: logger)
        }
        if let key = settings.deepgramKey {
            let service = DeepgramService(
                base: settings.deepgramURL, key: key, speed: settings.engineSpeed,
                authorities: settings.engineAuthorities)
            engines["deepgram"] = RelayEngine(service: service, logger: logger)
        }
        return EngineRegistry(
            defaultEngine: settings.engine.rawValue, fallbackEngine: settings.fallbackEngine?.rawValue,
            engines: engines, logger: logger)
    }
}
