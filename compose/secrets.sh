#!/bin/sh
# Write passwords of this host's own into .env, which compose.yaml reads. What is there already stays.
set -eu
cd "$(dirname "$0")/.."
umask 077

random() {
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

for name in PENSTOCK_STORE_TOKEN PENSTOCK_BROKER_PASSWORD PENSTOCK_DATABASE_PASSWORD; do
    grep -qs "^$name=" .env || printf '%s=%s\n' "$name" "$(random)" >>.env
done
echo "the passwords are in $(pwd)/.env"
