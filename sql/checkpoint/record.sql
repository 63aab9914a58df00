-- What take_epoch.sql returns, without taking anything.
SELECT epoch, slot, publication, publication_oid, system_identifier::text AS system_identifier, timeline,
    commit_lsn, next_index, commit_xid, flush_lsn,
    anchor_commit_lsn, anchor_end_lsn, anchor_xid, anchor_committed_at
FROM notifications.sources
WHERE name = $1
