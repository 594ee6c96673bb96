#!/usr/bin/env bash
# Create a Cloud SQL PostgreSQL with an address in the cluster's network, and the Secret for the chart.
#   PROJECT=my-project REGION=europe-west4 k8s/gke/cloud-sql.sh
# NETWORK (default) is the cluster's. With PostgreSQL, the coordinator can have several replicas.
set -euo pipefail
: "${PROJECT:?cloud-sql.sh: set PROJECT to the id of your Google Cloud project}"
: "${REGION:?cloud-sql.sh: set REGION to where the cluster is, such as europe-west4}"
NAMESPACE=${NAMESPACE:-penstock}
NETWORK=${NETWORK:-default}
password=$(openssl rand -hex 24)

gcloud services enable sqladmin.googleapis.com servicenetworking.googleapis.com --project="$PROJECT"
gcloud compute addresses create google-managed-services-"$NETWORK" --project="$PROJECT" --global \
    --purpose=VPC_PEERING --prefix-length=16 --network="$NETWORK"
gcloud services vpc-peerings connect --project="$PROJECT" --service=servicenetworking.googleapis.com \
    --ranges=google-managed-services-"$NETWORK" --network="$NETWORK"
gcloud sql instances create penstock --project="$PROJECT" --region="$REGION" --database-version=POSTGRES_17 \
    --edition=enterprise --tier=db-custom-1-3840 --network="$NETWORK" --no-assign-ip
gcloud sql databases create penstock --project="$PROJECT" --instance=penstock
gcloud sql users create penstock --project="$PROJECT" --instance=penstock --password="$password"
address=$(gcloud sql instances describe penstock --project="$PROJECT" --format='value(ipAddresses[0].ipAddress)')
kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f -
kubectl --namespace="$NAMESPACE" create secret generic penstock-database \
    --from-literal=url="postgresql://penstock:$password@$address/penstock"
