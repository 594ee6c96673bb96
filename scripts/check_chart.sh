#!/usr/bin/env bash
# Lint the chart, and validate its manifests against the schemas of Kubernetes. Without helm it is skipped, except in CI.
set -euo pipefail
cd "$(dirname "$0")/.."

chart=charts/penstock
# Kinds of other projects, whose schema is not available.
foreign=PodMonitor,ServiceMonitor,HTTPRoute,Gateway

for tool in helm kubeconform; do
    command -v $tool >/dev/null && continue
    echo "check_chart: skipped, because $tool is not installed" >&2
    [[ ${CI:-} != true ]]
    exit
done

conform() {
    helm template penstock $chart "$@" |
        kubeconform -schema-location tests/chart/kubernetes.schema.json -skip $foreign
}

for values in tests/chart/values/*.yaml; do
    helm lint --strict --quiet $chart --values "$values"
    conform --values "$values"
done
conform
