{{/*
What all pods have in common. A dict: root, component, values (where the component's keys are), user (its id), and
serviceAccount and token where it has one.
*/}}
{{- define "penstock.pod" -}}
{{- $values := .values -}}
serviceAccountName: {{ .serviceAccount | default "default" }}
automountServiceAccountToken: {{ .token | default false }}
{{- /* A Service named "penstock" would otherwise set PENSTOCK_PORT to tcp://… */}}
enableServiceLinks: false
{{- $security := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") "fsGroupChangePolicy" "OnRootMismatch" }}
{{- if .root.Values.fixedUserIds }}
{{- $security = merge $security (dict "runAsUser" .user "runAsGroup" .user "fsGroup" .user) }}
{{- end }}
securityContext: {{- toYaml (mergeOverwrite $security (deepCopy ($values.podSecurityContext | default dict))) | nindent 2 }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector | default $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := .tolerations | default $values.tolerations }}
{{- if not (kindIs "invalid" $values.unreachableSeconds) }}
{{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" }}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $values.unreachableSeconds)) }}
{{- end }}
{{- end }}
{{- with $tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.initContainers }}
initContainers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.topologySpread }}
topologySpreadConstraints:
  {{- range $values.topologySpread }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "penstock.selectorLabels" (list $.root $.component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* Labels of a pod: list of the root, the component, and its values. */}}
{{- define "penstock.podLabels" -}}
{{ include "penstock.selectorLabels" (list (first .) (index . 1)) }}
{{- with merge dict ((last .).podLabels | default dict) (first .).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every container may: nothing, except where files are put into it while it runs. List of the root and its values. */}}
{{- define "penstock.containerSecurity" -}}
{{- $security := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" (not (first .).Values.development) -}}
{{- $_ := set $security "capabilities" (dict "drop" (list "ALL")) -}}
{{- toYaml (mergeOverwrite $security (deepCopy ((last .).containerSecurityContext | default dict))) -}}
{{- end }}

{{/* A folder for temporary files: its name and its size, or none. */}}
{{- define "penstock.emptyDir" -}}
- name: {{ first . }}
  emptyDir: {{ ternary (dict "sizeLimit" (last .)) dict (ne (last . | toString) "") | toJson }}
{{- end }}

{{/* The environment that values give a component. */}}
{{- define "penstock.extraEnv" -}}
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How coordinator and steps reach broker and store, and who they are. */}}
{{- define "penstock.commonEnv" -}}
- name: PENSTOCK_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: PENSTOCK_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: PENSTOCK_BROKER_URL
  valueFrom:
    secretKeyRef: {{- include "penstock.brokerSecret" . | nindent 6 }}
{{- if include "penstock.tokenSecret" . }}
- name: PENSTOCK_STORE_TOKEN
  valueFrom:
    secretKeyRef: {{- include "penstock.tokenSecret" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "penstock.commonEnvFrom" -}}
- configMapRef: {name: {{ include "penstock.fullname" . }}-settings}
{{- with .Values.store.existingSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* A claim: list of the root, the component and its persistence. */}}
{{- define "penstock.claimSpec" -}}
accessModes: [{{ .accessMode }}]
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{- define "penstock.claim" -}}
{{- $persistence := last . -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "penstock.metadata" (list (first .) (index . 1) (index . 1)) | nindent 2 }}
  {{- if $persistence.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
spec:
  {{- include "penstock.claimSpec" $persistence | nindent 2 }}
{{- end }}
