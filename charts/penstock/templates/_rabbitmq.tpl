{{/*
What RabbitMQ loads whenever it starts, as JSON: list of the root and the password. Messages that came back 10 times are
published again by Penstock; the limit of 100 is for those whose consumers die before they can.
*/}}
{{- define "penstock.rabbitmqDefinitions" -}}
{{- $vhost := "penstock" -}}
{{- $policies := list
  (dict "name" "returns" "pattern" "^penstock\\.(step\\.|events$)" "definition" (dict "delivery-limit" 100))
  (dict "name" "dead" "pattern" "^penstock\\.dead$" "definition" (dict "max-length" 100000 "overflow" "drop-head"))
-}}
{{- $all := list -}}
{{- range concat $policies (first .).Values.rabbitmq.policies -}}
  {{- $all = append $all (merge (dict "vhost" $vhost) . (dict "apply-to" "queues" "priority" 0)) -}}
{{- end -}}
{{- dict
  "vhosts" (list (dict "name" $vhost))
  "users" (list (dict "name" "penstock" "password" (last .) "tags" list))
  "permissions" (list (dict "user" "penstock" "vhost" $vhost "configure" ".*" "write" ".*" "read" ".*"))
  "policies" $all
  | toJson -}}
{{- end }}

{{/* Its memory limit as RabbitMQ writes it; empty where there is none. */}}
{{- define "penstock.rabbitmqMemory" -}}
{{- $limit := dig "limits" "memory" "" .Values.rabbitmq.resources -}}
{{- if kindIs "string" $limit -}}
{{ $limit }}{{ if regexMatch "[MG]i?$" $limit }}B{{ end }}
{{- else -}}
{{ int64 $limit }}
{{- end -}}
{{- end }}
