written AS (
    UPDATE notifications.relations SET state = $3, integration = $4, organization = $5, publishing_xid = NULL
    WHERE source = $1 AND relation_oid = $2 AND state = 'publishing'
    RETURNING 1
)
