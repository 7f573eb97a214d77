/// How upstream streams end, what that means for the next one, and how the relay itself ends.
extension RelayedStream {
    var hasStream: Bool {
        switch phase {
        case .opening, .open, .ending: true
        case .waiting, .over: false
        }
    }

    var isListening: Bool {
        switch phase {
        case .open, .ending: true
        case .waiting, .opening, .over: false
        }
    }

    var isCatchingUp: Bool { buffer.position + frames(Self.lateness) < live.frame }

    /// A stream works, and what was before it is forgiven.
    mutating func outageIsOver() {
        guard outageSince != nil else { return }
        backoff.worked()
        (outageSince, refusals) = (nil, 0)
    }

    /// A stream to which one speaks in vain. A service may hear nothing in a noise: it is believed the second time.
    func isStalled(_ now: ContinuousClock.Instant) -> Bool {
        if let blockedSince, now - blockedSince >= policy.stallWait { return true }
        guard let since = unanswered.since, !hasStalled else { return false }
        return unanswered.frames >= frames(policy.answerable) && now - since >= policy.stallWait
    }

    mutating func leaveSilentStream(_ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        let end = UpstreamEnd.failed("it does not answer")
        actions += [.close, .report(end)]
        meterStream(&actions)
        reopen(after: end, now: now, &actions)
    }

    /// Opens the next stream, or gives up.
    mutating func reopen(after end: UpstreamEnd, now: ContinuousClock.Instant, _ actions: inout [Action]) {
        if isFinishing, !hasUnheardAudio, end == .clean || !hasLoudAudioBehindFinals { return finish(&actions) }
        let since = outageSince ?? now
        outageSince = since
        switch end {
        case .refused(let why):
            refusals += 1
            if refusals >= Self.refusalsBelieved { return fail(why, &actions) }
        case .failed(let why), .limited(let why):
            if now - since >= policy.patience { return fail(why, &actions) }
        case .clean:
            if now - since >= policy.patience { return fail("it closes every stream", &actions) }
        }
        if case .limited = end { backoff.slowDown() }
        startOver(at: now + backoff.pause(random: random()))
    }

    /// The audio since the last final is to be sent again, into a new stream.
    mutating func startOver(at time: ContinuousClock.Instant) {
        let from = replayStart
        for index in channels.indices { channels[index].lostStream() }
        for index in flushes.indices { (flushes[index].deadline, flushes[index].latest) = (nil, nil) }
        (replayedThrough, silentAt) = (buffer.end, nil)
        buffer.seek(to: from)
        clock = RelayClock(sampleRate: audio.sampleRate, start: buffer.position)
        (unanswered, blockedSince) = (Unanswered(), nil)
        phase = .waiting(until: time)
    }

    /// Where the next stream begins to listen: at the last final, or later if nothing but quiet was heard since.
    var replayStart: Int64 {
        channels.map { channel in
            let final = frameOf(channel.finalThrough)
            guard !channel.isOpen else { return final }
            return buffer.firstLoud(
                from: final, before: max(final, buffer.position - frames(policy.quietMargin)), channel: channel.channel)
        }.min() ?? 0
    }

    var hasUnheardAudio: Bool {
        buffer.waiting > 0 || channels.contains(where: \.isOpen) || unanswered.frames >= frames(policy.shortestWord)
    }

    /// What may be speech was sent, and no final reaches it.
    var hasLoudAudioBehindFinals: Bool {
        channels.contains { channel in
            let final = frameOf(channel.finalThrough)
            return buffer.firstLoud(from: final, before: buffer.position, channel: channel.channel) < buffer.position
        }
    }

    mutating func finish(_ actions: inout [Action]) {
        for index in channels.indices {
            if let event = channels[index].promote() { actions.append(.deliver(event)) }
        }
        for flush in flushes where flush.isAsked { actions.append(.deliver(.flushed(channel: flush.channel))) }
        flushes = []
        phase = .over
        actions.append(.deliver(.ended))
    }

    mutating func fail(_ why: String, _ actions: inout [Action]) {
        phase = .over
        if policy.givesLastPartials {
            for index in channels.indices {
                if let event = channels[index].promoteLost() { actions.append(.deliver(event)) }
            }
        }
        actions.append(.deliver(.failed(why)))
    }
}
