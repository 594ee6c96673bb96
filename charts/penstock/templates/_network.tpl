{{/* Rules by which coordinator and steps reach broker and store. */}}
{{- define "penstock.egressToServices" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if .Values.rabbitmq.bundled }}
- to:
    - podSelector:
        matchLabels: {{- include "penstock.selectorLabels" (list . "rabbitmq") | nindent 10 }}
  ports: [{port: 5672}]
{{- else }}
- ports: {{- include "penstock.ports" $policy.brokerPorts | trim | nindent 4 }}
{{- end }}
{{- if eq .Values.store.type "web" }}
- to:
    - podSelector:
        matchLabels: {{- include "penstock.selectorLabels" (list . "web") | nindent 10 }}
  ports: [{port: 8081}]
{{- end }}
{{- if or (ne .Values.store.type "web") .Values.store.sources }}
- ports: {{- include "penstock.ports" $policy.storePorts | trim | nindent 4 }}
# GKE's metadata server, from which Workload Identity gets its tokens.
- to:
    - ipBlock: {cidr: 169.254.169.252/32}
    - ipBlock: {cidr: 169.254.169.254/32}
  ports: [{port: 80}, {port: 987}, {port: 988}]
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The rule by which the API server is reached. */}}
{{- define "penstock.egressToApiServer" -}}
{{- $policy := .Values.networkPolicy -}}
- ports: {{- include "penstock.ports" $policy.apiServerPorts | trim | nindent 4 }}
  {{- with $policy.apiServerCidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "penstock.ports" -}}
{{- range . }}
- port: {{ . }}
{{- end }}
{{- end }}

{{/* Pods that serve steps, whichever. */}}
{{- define "penstock.stepPods" -}}
matchLabels: {{- include "penstock.releaseLabels" . | nindent 2 }}
matchExpressions:
  - {key: penstock.dev/step, operator: Exists}
{{- end }}
