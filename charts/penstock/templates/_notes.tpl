{{/* Warnings about unsafe or ineffective values, as JSON. */}}
{{- define "penstock.warnings" -}}
{{- $values := .Values -}}
{{- $found := list -}}
{{- if $values.development -}}
  {{- $found = append $found "development is true: root file systems are writable, and pods run any code written into them." -}}
{{- end -}}
{{- if and (not $values.apiKeys.enabled) (or $values.ingress.enabled $values.gateway.enabled (ne $values.web.service.type "ClusterIP")) -}}
  {{- $found = append $found "apiKeys.enabled is false, and Penstock is reachable from outside: anyone may do everything." -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.tlsSecret) -}}
  {{- $found = append $found "ingress.tlsSecret is empty: images and API keys are sent unencrypted." -}}
{{- end -}}
{{- if ne $values.web.service.type "ClusterIP" -}}
  {{- $found = append $found (printf "web.service.type is %s: images and API keys are sent unencrypted." $values.web.service.type) -}}
{{- end -}}
{{- if and $values.gateway.enabled $values.gateway.className (not $values.gateway.tlsSecret) (not $values.gateway.certificateMap) -}}
  {{- $found = append $found "gateway.tlsSecret and gateway.certificateMap are empty: images and API keys are sent unencrypted." -}}
{{- end -}}
{{- if and $values.apiKeys.enabled (ne $values.store.type "web") (or $values.ingress.enabled (ne $values.web.service.type "ClusterIP")) -}}
  {{- $found = append $found "store.type is url, so the coordinator is the front door: anyone who reaches it can read /metrics and /v1/backlog without a key." -}}
{{- end -}}
{{- if and (or $values.podMonitor.enabled $values.serviceMonitor.enabled) $values.networkPolicy.enabled (eq $values.store.type "web") (not $values.networkPolicy.coordinatorFrom) -}}
  {{- $found = append $found "Metrics are to be scraped, and networkPolicy.coordinatorFrom is empty: Prometheus cannot reach the coordinator." -}}
{{- end -}}
{{- if not $values.networkPolicy.enabled -}}
  {{- $found = append $found "networkPolicy.enabled is false: any pod in the cluster can reach RabbitMQ and the store." -}}
{{- end -}}
{{- if and $values.deletionCost.enabled (not $values.deletionCost.admissionPolicy) -}}
  {{- $found = append $found "deletionCost.admissionPolicy is false: steps may patch any pod of this namespace." -}}
{{- end -}}
{{- if and (eq $values.database.type "sqlite") (not $values.coordinator.persistence.keep) (not $values.coordinator.persistence.existingClaim) -}}
  {{- $found = append $found "coordinator.persistence.keep is false: uninstalling deletes all jobs." -}}
{{- end -}}
{{- if and $values.rabbitmq.bundled (not $values.rabbitmq.persistence.enabled) -}}
  {{- $found = append $found "rabbitmq.persistence.enabled is false: if its pod is replaced, queued work is sent again up to PENSTOCK_REPAIR_SECS later." -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* Claims that helm uninstall keeps, as JSON. */}}
{{- define "penstock.leftBehind" -}}
{{- $name := include "penstock.fullname" . -}}
{{- $found := list -}}
{{- $database := .Values.coordinator.persistence -}}
{{- if and (eq .Values.database.type "sqlite") $database.keep (not $database.existingClaim) -}}
  {{- $found = append $found (printf "persistentvolumeclaim/%s-coordinator (jobs)" $name) -}}
{{- end -}}
{{- $images := .Values.web.persistence -}}
{{- if and (eq .Values.store.type "web") $images.keep (not $images.existingClaim) -}}
  {{- $found = append $found (printf "persistentvolumeclaim/%s-web (images and results)" $name) -}}
{{- end -}}
{{- $queues := .Values.rabbitmq.persistence -}}
{{- if and .Values.rabbitmq.bundled $queues.enabled $queues.keep -}}
  {{- $found = append $found (printf "persistentvolumeclaim/data-%s-rabbitmq-0 (queues)" $name) -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}
