-- Completes a write of the catalog. What stands in the braces are common table expressions, one of them named "written".
-- The row of the revision is locked until the commit, so whoever reads a revision sees every write up to it.
WITH {expressions},
raised AS (
    UPDATE notifications.revision SET value = value + 1 WHERE EXISTS (SELECT FROM written) RETURNING value
)
SELECT raised.value AS revision, written.*, pg_catalog.pg_notify('webhookdb_notifications', 'catalog')::text AS told
FROM raised CROSS JOIN written
