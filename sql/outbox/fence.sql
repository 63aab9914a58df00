-- The share lock makes a takeover wait for this transaction, or this transaction fail.
SELECT 1 FROM notifications.sources WHERE name = $1 AND epoch = $2 FOR SHARE
