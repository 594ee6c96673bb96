{{/* A secret's value as it stands in the cluster, or a new one: list of the root, the Secret's name and the key. */}}
{{- define "penstock.keptOrNew" -}}
{{- $secret := lookup "v1" "Secret" (first .).Release.Namespace (index . 1) -}}
{{- $kept := get ($secret.data | default dict) (last .) -}}
{{- if $kept -}}{{ b64dec $kept }}{{- else -}}{{ randAlphaNum 32 }}{{- end -}}
{{- end }}

{{/* Where RabbitMQ's URL stands. */}}
{{- define "penstock.brokerSecret" -}}
{{- if .Values.rabbitmq.existingSecret.name -}}
{{ toYaml .Values.rabbitmq.existingSecret }}
{{- else -}}
name: {{ include "penstock.fullname" . }}-rabbitmq
key: url
{{- end -}}
{{- end }}

{{/* Where the store's token stands; empty where the store has none. */}}
{{- define "penstock.tokenSecret" -}}
{{- $given := .Values.store.tokenSecret -}}
{{- if $given.name -}}
{{ toYaml $given }}
{{- else if eq .Values.store.type "web" -}}
name: {{ include "penstock.fullname" . }}-store
key: token
{{- end -}}
{{- end }}

{{- define "penstock.storeUrl" -}}
{{- if eq .Values.store.type "web" -}}
http://{{ include "penstock.fullname" . }}-store:8081
{{- else -}}
{{ .Values.store.url }}
{{- end -}}
{{- end }}

{{/* The Secret of the API keys. */}}
{{- define "penstock.keysSecret" -}}
{{ .Values.apiKeys.existingSecret | default (printf "%s-api-key" (include "penstock.fullname" .)) }}
{{- end }}
