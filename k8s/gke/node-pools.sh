#!/usr/bin/env bash
# Create node pools for the steps on a Standard cluster, as an alternative to a ComputeClass:
#   PROJECT=my-project REGION=europe-west4 k8s/gke/node-pools.sh spot|gpu
# spot   e2-standard-8 on spot, 0 to MAX_NODES (10) per zone, tainted: only pods that tolerate it run there (values-standard.yaml)
# gpu    g2-standard-4 with one L4 on spot, 0 to MAX_NODES (2) per zone; GKE taints GPU nodes itself
#        (ZONES=europe-west4-a,europe-west4-b names the zones that have L4)
set -euo pipefail
kind=${1:?node-pools.sh: say spot or gpu}
: "${PROJECT:?node-pools.sh: set PROJECT to the id of your Google Cloud project}"
: "${REGION:?node-pools.sh: set REGION to where the cluster is, such as europe-west4}"
CLUSTER=${CLUSTER:-penstock}
common=(--project="$PROJECT" --cluster="$CLUSTER" --location="$REGION" --spot
    --service-account="$CLUSTER-nodes@$PROJECT.iam.gserviceaccount.com"
    --enable-autoscaling --num-nodes=0 --min-nodes=0 --location-policy=ANY)
[[ -z ${ZONES:-} ]] || common+=(--node-locations="$ZONES")

case $kind in
spot)
    gcloud container node-pools create penstock-spot "${common[@]}" --max-nodes="${MAX_NODES:-10}" \
        --machine-type=e2-standard-8 --node-taints=cloud.google.com/gke-spot=true:NoSchedule
    ;;
gpu)
    gcloud container node-pools create penstock-l4 "${common[@]}" --max-nodes="${MAX_NODES:-2}" \
        --machine-type=g2-standard-4 --accelerator=type=nvidia-l4,count=1,gpu-driver-version=latest
    ;;
*)
    echo "node-pools.sh: no pool \"$kind\"; spot and gpu are accepted" >&2
    exit 2
    ;;
esac
