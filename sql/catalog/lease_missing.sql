-- Whether a source that was served has no lease: a crash of the database empties the unlogged table.
SELECT EXISTS (
    SELECT FROM notifications.sources s
    WHERE s.epoch > 0 AND NOT EXISTS (SELECT FROM notifications.leases l WHERE l.source = s.name)
)
