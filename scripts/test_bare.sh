#!/usr/bin/env bash
# Run the tests as on a user's machine: in a fresh clone, without the servers and tools that tests use where they find
# them, and without the photographs. Unit tests need no server and are left out. Needs root: the programs are
# removed in a mount namespace of the tests' own.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=(/usr/lib/postgresql /usr/lib/rabbitmq /opt/rabbitmq /usr/local/go /run/docker.sock ~/.cache/penstock-tests)
programs=(docker dockerd nginx chromium prometheus promtool postgres go helm kubectl skaffold versitygw fake-gcs-server)
reasons=("no photographs" Docker "PostgreSQL server" "RabbitMQ server" nginx Prometheus Chromium versitygw fake-gcs-server helm)

clone=$(mktemp -d)
log=$(mktemp)
trap 'rm -rf "$clone" "$log"' EXIT
git clone --quiet . "$clone/penstock"
for program in "${programs[@]}"; do
    mapfile -t -O "${#missing[@]}" missing < <(PATH=$PATH:/usr/sbin type -aP "$program" | sort -u)
done

# Each folder is covered by an overlay, from which the file is then removed.
CLONE=$clone/penstock unshare --mount bash -euo pipefail -c '
    changes=$(mktemp -d)
    mount -t tmpfs none "$changes"
    for path in "$@"; do
        folder=$(dirname "$path")
        [[ -e $path || -L $path ]] || continue
        if [[ ! -e $changes/$folder ]]; then
            mkdir -p "$changes/$folder/upper" "$changes/$folder/work"
            mount -t overlay -o "lowerdir=$folder,upperdir=$changes/$folder/upper,workdir=$changes/$folder/work" none "$folder"
        fi
        rm -r "$path"
    done
    cd "$CLONE"
    unset CI
    make test ARGS="--ignore tests/unit"' bare "${missing[@]}" 2>&1 | tee "$log"

for reason in "${reasons[@]}"; do
    grep -q "^SKIPPED.*$reason" "$log" || { echo "test_bare: no test was skipped for want of $reason" >&2; exit 1; }
done
