-- What a tenant uses of its new sessions in a minute: another door.
CREATE FUNCTION new_sessions_in_minute(whose text, moment timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT begun FROM new_sessions WHERE owner = whose AND minute = date_trunc('minute', moment, 'UTC')), 0)
$$;

SELECT make_door('new_sessions_in_minute(text, timestamptz)');
