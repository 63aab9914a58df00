INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, status, created, updated, data)
SELECT 'ch_' || n, (n % 10000)::integer, 'succeeded', now(), now(),
       jsonb_build_object('id', 'ch_' || n, 'object', 'charge', 'amount', n % 10000, 'status', 'succeeded')
FROM generate_series(1, $1::bigint) AS n
