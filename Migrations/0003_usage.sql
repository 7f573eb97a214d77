-- What each session used: the rows that reports and invoices are made from.
--
-- No foreign key leads to tenants or keys: usage outlives both.

CREATE TABLE usage_rows (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    key_id text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    language text NOT NULL,
    tags text[] NOT NULL,
    region text NOT NULL,
    channels integer NOT NULL CHECK (channels > 0),
    audio_ms bigint NOT NULL CHECK (audio_ms >= 0),
    connected_ms bigint NOT NULL CHECK (connected_ms >= 0),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, session_id)
);

CREATE INDEX usage_rows_by_time ON usage_rows (tenant_id, started_at);
