{{/* The prefix of every object's name: the release's name, with "penstock" in it. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "penstock" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-penstock" (.Release.Name | trunc 31 | trimSuffix "-") }}
{{- end -}}
{{- end }}

{{/* What selects all pods of this release. */}}
{{- define "penstock.releaseLabels" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What selects one component's pods: list of the root and the component's name. */}}
{{- define "penstock.selectorLabels" -}}
{{ include "penstock.releaseLabels" (first .) }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* Labels of an object: list of the root and the component's name. */}}
{{- define "penstock.labels" -}}
{{- $root := first . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{ include "penstock.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: penstock
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, namespace and labels of an object: list of the root, the component and, where it differs, the name's end. */}}
{{- define "penstock.metadata" -}}
{{- $root := first . -}}
name: {{ include "penstock.fullname" $root }}-{{ last . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "penstock.labels" (list $root (index . 1)) | nindent 2 }}
{{- end }}

{{/* An image of ours: list of the root, the target's name and what replaces the whole reference, if anything. */}}
{{- define "penstock.image" -}}
{{- $root := first . -}}
{{- $image := $root.Values.image -}}
{{- $digest := get $image.digests (index . 1) -}}
{{- $suffix := ternary (printf "@%s" $digest) "" (ne $digest "") -}}
{{- last . | default (printf "%s/penstock-%s:%s%s" $image.registry (index . 1) ($image.tag | default $root.Chart.AppVersion) $suffix) -}}
{{- end }}

{{/* The ServiceAccount of "coordinator" or "steps": list of the root and which. */}}
{{- define "penstock.serviceAccount" -}}
{{- $account := index (first .).Values.serviceAccounts (last .) -}}
{{- $account.name | default (ternary (printf "%s-%s" (include "penstock.fullname" (first .)) (last .)) "default" $account.create) -}}
{{- end }}

{{- define "penstock.serviceAccountObject" -}}
{{- $root := first . -}}
{{- $account := index $root.Values.serviceAccounts (last .) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "penstock.serviceAccount" . }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "penstock.labels" . | nindent 4 }}
  {{- with $account.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{/* Binds a Role to a ServiceAccount of the same name's end: list of the root and "coordinator" or "steps". */}}
{{- define "penstock.roleBinding" -}}
{{- $root := first . -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "penstock.metadata" (list $root (last .) (last .)) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "penstock.fullname" $root }}-{{ last . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "penstock.serviceAccount" . }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
