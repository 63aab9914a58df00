-- The settings that what we read from the log depends on, as they are in this session.
SELECT name, setting
FROM pg_catalog.pg_settings
WHERE name IN
    ('client_encoding', 'DateStyle', 'IntervalStyle', 'TimeZone', 'bytea_output', 'extra_float_digits', 'search_path',
     'quote_all_identifiers', 'client_min_messages');
