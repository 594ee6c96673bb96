{{/* What was set so that it is not safe, or does not do what it is for, as JSON. */}}
{{- define "penstock.warnings" -}}
{{- $values := .Values -}}
{{- $found := list -}}
{{- if $values.development -}}
  {{- $found = append $found "development is true: pods can be written to, and run what is put into them." -}}
{{- end -}}
{{- if and (not $values.apiKeys.enabled) (or $values.ingress.enabled $values.gateway.enabled (ne $values.web.service.type "ClusterIP")) -}}
  {{- $found = append $found "apiKeys.enabled is false, and Penstock is reached from outside: whoever comes may do everything." -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.tlsSecret) -}}
  {{- $found = append $found "ingress.tlsSecret is empty: pictures and API keys come and go unencrypted." -}}
{{- end -}}
{{- if ne $values.web.service.type "ClusterIP" -}}
  {{- $found = append $found (printf "web.service.type is %s: pictures and API keys come and go unencrypted." $values.web.service.type) -}}
{{- end -}}
{{- if and $values.gateway.enabled $values.gateway.className (not $values.gateway.tlsSecret) (not $values.gateway.certificateMap) -}}
  {{- $found = append $found "gateway.tlsSecret and gateway.certificateMap are empty: pictures and API keys come and go unencrypted." -}}
{{- end -}}
{{- if and $values.apiKeys.enabled (ne $values.store.type "web") (or $values.ingress.enabled (ne $values.web.service.type "ClusterIP")) -}}
  {{- $found = append $found "store.type is url, so nothing stands before the coordinator: whoever reaches it reads /metrics and /v1/backlog without a key." -}}
{{- end -}}
{{- if and $values.podMonitor.enabled $values.networkPolicy.enabled (eq $values.store.type "web") (not $values.networkPolicy.coordinatorFrom) -}}
  {{- $found = append $found "podMonitor.enabled is true and networkPolicy.coordinatorFrom is empty: Prometheus does not reach the coordinator." -}}
{{- end -}}
{{- if not $values.networkPolicy.enabled -}}
  {{- $found = append $found "networkPolicy.enabled is false: any pod of the cluster reaches RabbitMQ and the store." -}}
{{- end -}}
{{- if and $values.deletionCost.enabled (not $values.deletionCost.admissionPolicy) -}}
  {{- $found = append $found "deletionCost.admissionPolicy is false: steps may patch any pod of this namespace." -}}
{{- end -}}
{{- if and (eq $values.database.type "sqlite") (not $values.coordinator.persistence.keep) (not $values.coordinator.persistence.existingClaim) -}}
  {{- $found = append $found "coordinator.persistence.keep is false: uninstalling deletes all jobs." -}}
{{- end -}}
{{- if and $values.rabbitmq.bundled (not $values.rabbitmq.persistence.enabled) -}}
  {{- $found = append $found "rabbitmq.persistence.enabled is false: when its pod goes, what was queued is sent again, up to PENSTOCK_REPAIR_SECS later." -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* The claims that outlive the release, as JSON. */}}
{{- define "penstock.leftBehind" -}}
{{- $name := include "penstock.fullname" . -}}
{{- $found := list -}}
{{- $database := .Values.coordinator.persistence -}}
{{- if and (eq .Values.database.type "sqlite") $database.keep (not $database.existingClaim) -}}
  {{- $found = append $found (printf "persistentvolumeclaim/%s-coordinator (jobs)" $name) -}}
{{- end -}}
{{- $pictures := .Values.web.persistence -}}
{{- if and (eq .Values.store.type "web") $pictures.keep (not $pictures.existingClaim) -}}
  {{- $found = append $found (printf "persistentvolumeclaim/%s-web (pictures)" $name) -}}
{{- end -}}
{{- $queues := .Values.rabbitmq.persistence -}}
{{- if and .Values.rabbitmq.bundled $queues.enabled $queues.keep -}}
  {{- $found = append $found (printf "persistentvolumeclaim/data-%s-rabbitmq-0 (queues)" $name) -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}
