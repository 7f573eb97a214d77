extension RelayedStream {
    /// What is left of a message's shortest length goes after this, when no more comes.
    static let remainderWait = Duration.milliseconds(100)

    /// Does whatever can be done now: sends what the pace allows, asks for finals, keeps the service awake, changes streams,
    /// ends.
    mutating func pump(now: ContinuousClock.Instant, _ actions: inout [Action]) {
        live.passed(now, end: buffer.end)
        pace.passed(now, isCatchingUp: isCatchingUp)
        settleFlushes(now, &actions)
        if phase == .open, isChangeoverDue {
            actions.append(.close)
            meterStream(&actions)
            startOver(at: now)
            actions += ticked(now: now)
            return
        }
        if phase == .open, blockedSince == nil {
            send(now, &actions)
            askForLongOverdueFinals()
            keepAwake(now, &actions)
            end(now, &actions)
            meter(&actions)
            if buffer.position >= replayedThrough + frames(Self.silentRecovery) { outageIsOver() }
        }
        report(&actions)
        forget()
    }

    private mutating func send(_ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        while pace.isOpen {
            let flush = flushes.firstIndex { $0.deadline == nil }
            if let flush, buffer.position >= flushes[flush].frame {
                ask(flush, now, &actions)
                continue
            }
            let boundary = flush.map { flushes[$0].frame } ?? buffer.end
            let ready = boundary - buffer.position
            let isAll = flush != nil || isFinishing || now - sentAt >= Self.remainderWait
            guard ready > 0, isAll || ready >= frames(policy.shortestMessage),
                let (samples, isLoud) = buffer.next(atMost: min(ready, frames(policy.longestMessage)))
            else { return }
            let count = Int64(samples.count / audio.channels)
            clock.sentAudio(count)
            pace.spent(count)
            sentAt = now
            if isLoud {
                unanswered.since = unanswered.since ?? now
                unanswered.frames += count
            }
            actions.append(.send(samples))
        }
    }

    // MARK: Finals on request

    private mutating func ask(_ index: Int, _ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        let channel = flushes[index].channel
        let isQuiet = unanswered.frames == 0 && !channels[channel].isOpen
        flushes[index].latest = now + policy.flushWait
        flushes[index].deadline = now + (isQuiet ? policy.quietFlushWait : policy.flushWait)
        switch policy.flush {
        case .message: actions.append(.askForFinals(channel: channel))
        case .silence(let length):
            // It is heard on all channels, and once is enough.
            guard silentAt != buffer.position else { break }
            silentAt = buffer.position
            sendSilence(frames(length), now, &actions)
        }
    }

    private mutating func sendSilence(
        _ count: Int64, _ now: ContinuousClock.Instant, _ actions: inout [Action]
    ) {
        clock.sentSilence(count)
        pace.spent(count)
        sentAt = now
        let most = frames(policy.longestMessage)
        for start in stride(from: 0, to: count, by: Int(most)) {
            actions.append(.sendSilence(frames: Int(min(most, count - start))))
        }
    }

    /// Too much audio would have to be kept, since nobody pauses: the service is made to decide.
    private mutating func askForLongOverdueFinals() {
        for index in channels.indices where channels[index].isOpen {
            guard buffer.position - frameOf(channels[index].finalThrough) >= frames(policy.finalInterval),
                !flushes.contains(where: { $0.channel == index })
            else { continue }
            flushes.append(Flush(channel: index, frame: buffer.position, isAsked: false))
        }
    }

    /// A result has come: does it answer a request for finals?
    mutating func take(
        _ upstream: UpstreamResult, _ now: ContinuousClock.Instant, _ actions: inout [Action]
    ) {
        var result = upstream.result
        let channel = result.channel
        result.through = clock.sessionTime(result.through)
        for index in result.words.indices {
            result.words[index].start = clock.sessionTime(result.words[index].start)
            result.words[index].end = clock.sessionTime(result.words[index].end)
        }
        if let event = channels[channel].take(result, isFinal: upstream.isFinal) { actions.append(.deliver(event)) }
        guard let flush = flushes.firstIndex(where: { $0.channel == channel }), let latest = flushes[flush].latest
        else { return }
        if upstream.answersFlush {
            flushes[flush].deadline = now
        } else if policy.flush != .message {
            let isSettled = upstream.isFinal && !channels[channel].isOpen
            flushes[flush].deadline = isSettled ? min(latest, now + policy.flushGrace) : latest
        }
    }

    /// What was asked for has come, or has not come in time: the last partial's words count as final then.
    private mutating func settleFlushes(_ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        while let index = flushes.firstIndex(where: { $0.deadline.map { $0 <= now } ?? false }) {
            let flush = flushes.remove(at: index)
            if let event = channels[flush.channel].promote() { actions.append(.deliver(event)) }
            guard flush.isAsked else { continue }
            // The service's final ends with its last word; what was asked for reaches to the moment of the question.
            actions.append(.deliver(.progress(channel: flush.channel, through: time(flush.frame))))
            actions.append(.deliver(.flushed(channel: flush.channel)))
        }
    }

    // MARK: The stream's life

    private mutating func keepAwake(_ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        guard now - sentAt >= policy.keepAliveInterval else { return }
        switch policy.keepAlive {
        case .message:
            sentAt = now
            actions.append(.keepAlive)
        case .silence(let length): sendSilence(frames(length), now, &actions)
        }
    }

    private mutating func end(_ now: ContinuousClock.Instant, _ actions: inout [Action]) {
        guard isFinishing, buffer.waiting == 0, flushes.allSatisfy({ $0.deadline != nil }) else { return }
        phase = .ending(deadline: now + policy.endWait)
        actions.append(.endStream)
    }

    /// Whether a new stream must take over: in a pause before the limit, or at it.
    private var isChangeoverDue: Bool {
        guard let limit = policy.streamLimit.map({ frames($0) }), clock.sent >= limit - limit / Self.changeoverPart
        else { return false }
        let isPause = unanswered.frames == 0 && flushes.isEmpty && !channels.contains(where: \.isOpen)
        return isPause || clock.sent >= limit
    }

    // MARK: Memory

    /// Lets go of audio that will not be replayed.
    private mutating func forget() {
        guard buffer.position - forgottenAt >= Int64(audio.sampleRate) else { return }
        forgottenAt = buffer.position
        let first = replayStart
        buffer.drop(before: max(first, buffer.position - frames(policy.replayLimit)))
        clock.forget(before: first)
    }
}
