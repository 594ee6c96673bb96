#!/bin/sh
# Write generated passwords to .env, which compose.yaml reads. Existing entries are kept.
set -eu
cd "$(dirname "$0")/.."
umask 077

random() {
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

for name in PENSTOCK_STORE_TOKEN PENSTOCK_BROKER_PASSWORD PENSTOCK_DATABASE_PASSWORD; do
    grep -qs "^$name=" .env || printf '%s=%s\n' "$name" "$(random)" >>.env
done
# The server gets only the hash; clients need the key.
if ! grep -qs '^PENSTOCK_API_KEYS=' .env; then
    key="pk_$(random)$(random)"
    hash=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)
    printf "PENSTOCK_API_KEY=%s\nPENSTOCK_API_KEYS='%s'\n" "$key" \
        "[{\"name\": \"admin\", \"hash\": \"sha256:$hash\", \"admin\": true}]" >>.env
fi
echo "the passwords and the API key are in $(pwd)/.env"
