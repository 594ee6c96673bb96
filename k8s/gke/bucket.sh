#!/usr/bin/env bash
# Create a bucket for Penstock's store, and give access only to its pods, with Workload Identity and without keys.
#   PROJECT=my-project REGION=europe-west4 BUCKET=my-penstock k8s/gke/bucket.sh
# NAMESPACE (penstock) and SERVICE_ACCOUNTS (those of the chart for the release penstock) select the pods.
set -euo pipefail
: "${PROJECT:?bucket.sh: set PROJECT to the id of your Google Cloud project}"
: "${REGION:?bucket.sh: set REGION to where the cluster is, such as europe-west4}"
: "${BUCKET:?bucket.sh: set BUCKET to a name that no other bucket in the world has}"
NAMESPACE=${NAMESPACE:-penstock}
SERVICE_ACCOUNTS=${SERVICE_ACCOUNTS:-penstock-coordinator penstock-steps}

gcloud storage buckets create "gs://$BUCKET" --project="$PROJECT" --location="$REGION" \
    --uniform-bucket-level-access --public-access-prevention
number=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
pool="principal://iam.googleapis.com/projects/$number/locations/global/workloadIdentityPools/$PROJECT.svc.id.goog"
for account in $SERVICE_ACCOUNTS; do
    gcloud storage buckets add-iam-policy-binding "gs://$BUCKET" --role=roles/storage.objectUser \
        --member="$pool/subject/ns/$NAMESPACE/sa/$account"
done
