#!/bin/sh
# An application: charges come in, are refunded and removed.
set -eu

number=0
while :; do
    number=$((number + 1))
    psql -qAtX -v ON_ERROR_STOP=1 <<SQL
INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, status, data) VALUES ('ch_$number', $((number * 100)), 'succeeded', '{}')
    ON CONFLICT (stripe_id) DO UPDATE SET amount = excluded.amount, status = excluded.status;
UPDATE stripe_charge_v1_fdcc SET status = 'refunded' WHERE stripe_id = 'ch_$((number - 5))';
DELETE FROM stripe_charge_v1_fdcc WHERE stripe_id = 'ch_$((number - 10))';
SQL
    sleep 2
done
