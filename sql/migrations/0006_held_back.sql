-- Why the daemon reads nothing from a source that it streams, where a subscription is owed as much as it may be.
ALTER TABLE notifications.leases ADD COLUMN held_back text;
