-- What an operator may set for a tenant and for a key, beyond what admission needed so far.

ALTER TABLE tenants
    -- null is no limit, in all four; limit_version counts their changes together
    ADD COLUMN max_new_sessions_per_minute bigint CHECK (max_new_sessions_per_minute >= 0),
    ADD COLUMN max_minutes_per_month bigint CHECK (max_minutes_per_month >= 0),
    ADD COLUMN max_seconds_per_session bigint CHECK (max_seconds_per_session >= 0),
    ADD COLUMN quota_policy text NOT NULL DEFAULT 'hard' CHECK (quota_policy IN ('hard', 'soft')),
    -- null is any that the server has
    ADD COLUMN allowed_engines text[],
    ADD COLUMN allowed_languages text[],
    -- null is the server's own setting, in all three
    ADD COLUMN on_lease_lost text CHECK (on_lease_lost IN ('keep', 'close')),
    ADD COLUMN quota_unavailable text CHECK (quota_unavailable IN ('close', 'continue')),
    ADD COLUMN admit_unclaimed text CHECK (admit_unclaimed IN ('refuse', 'allow')),
    -- null keeps transcripts for ever
    ADD COLUMN retention_days bigint CHECK (retention_days > 0),
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    -- grows with every change: the API's ETag
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

UPDATE tenants SET updated_at = created_at;

ALTER TABLE api_keys
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    -- addresses from which the key is accepted, in CIDR notation; none is all
    ADD COLUMN allowed_cidrs text[] NOT NULL DEFAULT '{}',
    -- stays the same when a key is rotated, so that its usage can be followed
    ADD COLUMN family text,
    ADD COLUMN max_concurrent_sessions bigint CHECK (max_concurrent_sessions >= 0),
    ADD COLUMN max_new_sessions_per_minute bigint CHECK (max_new_sessions_per_minute >= 0),
    ADD COLUMN max_minutes_per_month bigint CHECK (max_minutes_per_month >= 0),
    ADD COLUMN max_seconds_per_session bigint CHECK (max_seconds_per_session >= 0),
    ADD COLUMN limit_version bigint NOT NULL DEFAULT 1,
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

UPDATE api_keys SET updated_at = created_at, family = key_id;
ALTER TABLE api_keys ALTER COLUMN family SET NOT NULL;
CREATE INDEX api_keys_by_family ON api_keys (family);
