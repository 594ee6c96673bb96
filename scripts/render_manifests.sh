#!/usr/bin/env bash
# Render the chart into k8s/rendered/, for those who use no Helm; --check tells whether what lies there is what it gives.
set -euo pipefail
cd "$(dirname "$0")/.."
values=k8s/rendered/values

render() {
    cat <<END
# Made by scripts/render_manifests.sh from charts/penstock with $values/common.yaml and $1.yaml.
# k8s/rendered/README.md tells which Secrets to make first.
END
    helm template penstock charts/penstock --namespace penstock --skip-tests \
        --values "$values/common.yaml" --values "$values/$1.yaml"
}

if ! command -v helm >/dev/null; then
    echo "render_manifests: helm is not installed, k8s/rendered/ is not looked at" >&2
    [[ ${CI:-} != true ]]
    exit
fi
for variant in per-step fused keda; do
    target=k8s/rendered/$variant.yaml
    if [[ ${1:-} != --check ]]; then
        render "$variant" >"$target"
    elif ! difference=$(diff -u "$target" <(render "$variant")); then
        printf '%s\n%s\n' "$difference" "render_manifests: $target is not what the chart gives; run scripts/render_manifests.sh" >&2
        exit 1
    fi
done
