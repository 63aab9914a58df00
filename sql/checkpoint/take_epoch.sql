-- Taking a slot raises the source's epoch: every write of an earlier holder fails from here on.
-- On disk at once, whatever the role's settings are: an epoch that a crash takes back would let two hold the same.
WITH durable AS (SELECT set_config('synchronous_commit', 'on', true))
UPDATE notifications.sources
SET epoch = epoch + 1
FROM durable
WHERE name = $1
RETURNING epoch, slot, publication, publication_oid, system_identifier::text AS system_identifier, timeline,
    commit_lsn, next_index, commit_xid, flush_lsn,
    anchor_commit_lsn, anchor_end_lsn, anchor_xid, anchor_committed_at
