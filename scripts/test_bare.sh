#!/usr/bin/env bash
# Run `make test` as on a user's machine: in a fresh clone, without the servers and tools that tests use where they find
# them, and without the photographs. Wants root, for a mount namespace in which those programs are hidden.
set -euo pipefail
cd "$(dirname "$0")/.."

hidden=(/usr/lib/postgresql /usr/lib/rabbitmq /opt/rabbitmq /usr/local/go)
programs=(docker dockerd nginx chromium prometheus promtool postgres go helm kubectl skaffold versitygw fake-gcs-server)
reasons=("no photographs" Docker "PostgreSQL server" "RabbitMQ server" nginx Prometheus Chromium versitygw fake-gcs-server helm)

clone=$(mktemp -d)
log=$(mktemp)
trap 'rm -rf "$clone" "$log"' EXIT
git clone --quiet . "$clone/penstock"
for program in "${programs[@]}"; do
    mapfile -t -O "${#hidden[@]}" hidden < <(PATH=$PATH:/usr/sbin type -aP "$program" | sort -u)
done

# An empty folder covers a folder, and /dev/null, which nothing can execute or connect to, a file.
CLONE=$clone/penstock unshare --mount bash -euo pipefail -c '
    for path in "$@"; do
        if [[ -d $path ]]; then mount -t tmpfs none "$path"; elif [[ -e $path ]]; then mount --bind /dev/null "$path"; fi
    done
    cd "$CLONE"
    unset CI
    make test' bare "${hidden[@]}" /run/docker.sock 2>&1 | tee "$log"

for reason in "${reasons[@]}"; do
    grep -q "^SKIPPED.*$reason" "$log" || { echo "test_bare: no test was skipped for want of $reason" >&2; exit 1; }
done
