#!/usr/bin/env bash
# Install Penstock into a cluster and run a first job: build the images, load them into the cluster, install the chart
# with the bundled servers, submit sample images, and download the results.
#
#   REGISTRY    registry and path of the images (local); if it contains a host, images are pushed to it
#   LOAD        command that loads the images given as arguments from this host's Docker into the cluster;
#               not needed with kind, minikube or CLUSTER
#   CLUSTER     program with the verbs `env`, which prints KUBECONFIG and PATH, and `load IMAGE…`
#   NAMESPACE, RELEASE   penstock, both
#   VALUES      values files, separated by spaces (k8s/values-small.yaml)
#   HELM_ARGS   more arguments for helm, such as "--set placement=fused"
#   IMAGES      number of sample images (24); PICTURES, its name in 0.1.0, still works
#   OUT         folder for the results (results/cluster)
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
registry=${REGISTRY:-local}
namespace=${NAMESPACE:-penstock}
release=${RELEASE:-penstock}
name=$release  # prefix of the names of all objects
[[ $release == *penstock* ]] || name=$release-penstock
out=${OUT:-results/cluster}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' services/penstock/__init__.py)
targets=(coordinator step resize crop rotate tile split adjust blur contact-sheet encode)
settings=(--set "image.registry=$registry" --set "image.tag=$version")
for file in ${VALUES-k8s/values-small.yaml}; do
    settings+=(--values "$file")
done
images=("${targets[@]/#/$registry/penstock-}")
images=("${images[@]/%/:$version}")

fail() {
    echo "cluster-up: $*" >&2
    exit 1
}

say() {
    printf '\n== %s\n' "$*"
}

# Without CLUSTER and LOAD, use the script beside the checkout if it manages the current cluster.
find_cluster() {
    local beside=../shared/cluster/cluster
    if [[ -z ${CLUSTER:-}${LOAD:-} && -x $beside && $("$beside" env) == *"${KUBECONFIG:-}"* ]]; then
        CLUSTER=$beside
    fi
    [[ -z ${CLUSTER:-} ]] || eval "$("$CLUSTER" env)"
    for program in docker kubectl helm; do
        command -v "$program" >/dev/null || fail "$program is not installed"
    done
    kubectl get --raw /readyz --request-timeout=10s >/dev/null 2>&1 ||
        fail "no Kubernetes cluster is reachable; KUBECONFIG is \"${KUBECONFIG:-}\""
}

# Use local images of the bundled servers, if there are any, instead of pulling them.
use_local_servers() {
    local server
    for server in rabbitmq=local/rabbitmq:4.0 web=local/nginx:1.26; do
        if docker image inspect "${server#*=}" >/dev/null 2>&1; then
            settings+=(--set "${server%%=*}.image=${server#*=}")
            images+=("${server#*=}")
        fi
    done
}

load_images() {
    local context
    context=$(kubectl config current-context 2>/dev/null || true)
    if [[ -n ${LOAD:-} ]]; then
        $LOAD "${images[@]}"
    elif [[ -n ${CLUSTER:-} ]]; then
        "$CLUSTER" load "${images[@]}"
    elif [[ ${registry%%/*} == *[.:]* ]]; then
        printf '%s\n' "${images[@]}" | xargs -n 1 docker push --quiet
    elif [[ $context == kind-* ]]; then
        kind load docker-image --name "${context#kind-}" "${images[@]}"
    elif [[ $context == minikube ]]; then
        minikube image load "${images[@]}"
    else
        fail "context \"$context\" is neither kind nor minikube: set REGISTRY to a registry, or LOAD to a command"
    fi
}

install() {
    # shellcheck disable=SC2086  # HELM_ARGS are several words
    helm upgrade --install "$release" charts/penstock --namespace "$namespace" --create-namespace \
        "${settings[@]}" ${HELM_ARGS:-} --wait --timeout 5m >/dev/null && return
    kubectl --namespace "$namespace" get pods >&2
    kubectl --namespace "$namespace" events --types=Warning | tail -20 >&2
    fail "release $release did not become ready; see docs/kubernetes.md"
}

# Forward a free local port, $port, to the web service until this script ends.
forward() {
    local log
    log=$(mktemp)
    kubectl --namespace "$namespace" port-forward "service/$name-web" :80 >"$log" 2>&1 &
    trap "kill $! 2>/dev/null; rm -f $log" EXIT
    for _ in $(seq 100); do
        port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log")
        [[ -z $port ]] || return 0
        sleep 0.1
    done
    fail "cannot forward a port to service/$name-web: $(cat "$log")"
}

# Read the API key that the chart generated, if it did.
read_api_key() {
    PENSTOCK_API_KEY=$(kubectl --namespace "$namespace" get secret "$name-api-key" --ignore-not-found \
        --output 'jsonpath={.data.key}' | base64 -d)
    export PENSTOCK_API_KEY
}

find_cluster
say "Building images"
REGISTRY=$registry TAG=$version scripts/build_images.sh "${targets[@]}"
say "Loading them into the cluster"
[[ ${registry%%/*} == *[.:]* ]] || use_local_servers
load_images
say "Installing release $release into namespace $namespace"
install
kubectl --namespace "$namespace" get pods
say "Sending a job"
forward
read_api_key
$python scripts/send_job.py --url "http://127.0.0.1:$port" --out "$out" --images "${IMAGES:-${PICTURES:-24}}"
say "Done; Penstock stays installed"
cat <<END
results     $(cd "$out" && pwd)
API key     kubectl --namespace $namespace get secret $name-api-key --output 'jsonpath={.data.key}' | base64 -d
front door  kubectl --namespace $namespace port-forward service/$name-web 8080:80
scale       kubectl --namespace $namespace scale deployment/$name-blur --replicas=4
remove      helm --namespace $namespace uninstall $release
END
