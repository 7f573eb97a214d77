-- What engines cost apart from what clients sent, and the engine that goes on when a tenant's first one fails.

-- The engine that goes on; null is the server's own, the same as default_engine is none.
ALTER TABLE tenants ADD COLUMN fallback_engine text;

-- Audio that the engine's owner is billed for. Where nothing else was said it is what was admitted.
ALTER TABLE usage_rows ADD COLUMN engine_ms bigint CHECK (engine_ms >= 0);
UPDATE usage_rows SET engine_ms = audio_ms;
ALTER TABLE usage_rows ALTER COLUMN engine_ms SET NOT NULL;

ALTER TABLE session_status ADD COLUMN engine_ms bigint CHECK (engine_ms >= 0);
UPDATE session_status SET engine_ms = audio_ms;
ALTER TABLE session_status ALTER COLUMN engine_ms SET NOT NULL;

CREATE OR REPLACE FUNCTION store_status(status session_status, replaces boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO session_status SELECT (status).*
    ON CONFLICT (session_id) DO UPDATE SET
        (state, end_state, reason, started_at, ended_at, audio_ms, engine_ms, finals, transcript_location, region,
            stored_at)
        = (excluded.state, excluded.end_state, excluded.reason, excluded.started_at, excluded.ended_at,
            excluded.audio_ms, excluded.engine_ms, excluded.finals, excluded.transcript_location, excluded.region,
            excluded.stored_at)
    WHERE replaces;
$$;
