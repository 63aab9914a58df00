#!/bin/sh
# What an operator types once: the database is prepared, and the receiver subscribed. It may run any number of times.
set -eu

webhookdb setup
if webhookdb notification list --format raw | grep -q http://receiver:8000/; then
    exit 0
fi
webhookdb org create "Acme Corp"
webhookdb integrations add --org acme_corp --service stripe_charge_v1 --table stripe_charge_v1_fdcc
webhookdb notification create --integration stripe_charge_v1 --url http://receiver:8000/ --secret "$WEBHOOKDB_VERIFY_WITH"
