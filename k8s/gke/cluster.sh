#!/usr/bin/env bash
# Create a GKE cluster for Penstock, and point kubectl at it.
#   PROJECT=my-project REGION=europe-west4 k8s/gke/cluster.sh standard|autopilot
# CLUSTER (penstock) names it. Standard gets its own service account for nodes, and Dataplane V2, which enforces
# NetworkPolicies and cannot be enabled later. Autopilot includes both.
set -euo pipefail
mode=${1:?cluster.sh: say standard or autopilot}
: "${PROJECT:?cluster.sh: set PROJECT to the id of your Google Cloud project}"
: "${REGION:?cluster.sh: set REGION to where the cluster shall be, such as europe-west4}"
CLUSTER=${CLUSTER:-penstock}
nodes="$CLUSTER-nodes@$PROJECT.iam.gserviceaccount.com"

make_node_identity() {
    gcloud iam service-accounts create "$CLUSTER-nodes" --project="$PROJECT"
    for role in roles/container.defaultNodeServiceAccount roles/artifactregistry.reader; do
        gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$nodes" --role="$role" --condition=None
    done
}

case $mode in
standard | autopilot) ;;
*)
    echo "cluster.sh: no mode \"$mode\"; standard and autopilot are accepted" >&2
    exit 2
    ;;
esac

gcloud services enable container.googleapis.com artifactregistry.googleapis.com --project="$PROJECT"
make_node_identity
if [[ $mode == autopilot ]]; then
    gcloud container clusters create-auto "$CLUSTER" --project="$PROJECT" --location="$REGION" \
        --service-account="$nodes"
else
    # One e2-standard-4 in each of the region's zones for RabbitMQ, web and coordinator; the steps get pools of their own.
    gcloud container clusters create "$CLUSTER" --project="$PROJECT" --location="$REGION" \
        --release-channel=regular --machine-type=e2-standard-4 --num-nodes=1 \
        --enable-dataplane-v2 --gateway-api=standard --workload-pool="$PROJECT.svc.id.goog" --service-account="$nodes"
fi
gcloud container clusters get-credentials "$CLUSTER" --project="$PROJECT" --location="$REGION"
