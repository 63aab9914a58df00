-- A subscription may ask for several notifications in one request.

ALTER TABLE notifications.subscriptions
    -- Notifications in one request at most, and for how long a request that could take more waits for it; null: one each.
    ADD COLUMN batch_size integer CHECK (batch_size BETWEEN 1 AND 1000),
    ADD COLUMN batch_linger_ms integer CHECK (batch_linger_ms BETWEEN 0 AND 2000),
    ADD CHECK ((batch_size IS NULL) = (batch_linger_ms IS NULL));
