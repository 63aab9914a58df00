-- A subscription of several sources has a start in each: which ones it waits for is recorded with it.

ALTER TABLE notifications.subscription_starts
    ALTER COLUMN start_lsn DROP NOT NULL;       -- null: its message was not met in that source's log yet

-- Until here there was one source.
INSERT INTO notifications.subscription_starts (subscription, source)
SELECT s.id, o.name FROM notifications.subscriptions s CROSS JOIN notifications.sources o
WHERE s.state IN ('pending', 'paused')
ON CONFLICT (subscription, source) DO NOTHING;
