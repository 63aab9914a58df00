-- Whether this transaction was skipped by `setup --skip-transaction`, and the checkpoint is past it.
SELECT EXISTS (
    SELECT FROM notifications.sources s JOIN notifications.gaps g ON g.source = s.name
    WHERE s.name = $1 AND g.skipped_commit_lsn = $2 AND s.flush_lsn > $2
)
