#!/usr/bin/env bash
# Lint the chart, and hold what it renders against the schemas of Kubernetes. At home it is enough to have no helm.
set -euo pipefail
cd "$(dirname "$0")/.."

chart=charts/penstock
# Kinds whose schema only their own project's cluster knows.
foreign=PodMonitor,HTTPRoute,Gateway

for tool in helm kubeconform; do
    command -v $tool >/dev/null && continue
    echo "check_chart: $tool is not installed, the chart is not looked at" >&2
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
