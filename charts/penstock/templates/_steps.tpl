{{/* An entry of `steps` over `stepDefaults`, as JSON: list of the root and the entry. */}}
{{- define "penstock.overDefaults" -}}
{{- mergeOverwrite (deepCopy (first .).Values.stepDefaults) (deepCopy (last .)) | toJson -}}
{{- end }}

{{/*
The Deployments that serve steps, as JSON: name → {serves: [steps], image, values}. Fused, one serves all steps that
need neither an image, a program nor a GPU of their own.
*/}}
{{- define "penstock.workers" -}}
{{- $root := . -}}
{{- $workers := dict -}}
{{- $together := list -}}
{{- $steps := dict -}}
{{- range $name, $entry := .Values.steps -}}
  {{- $step := include "penstock.overDefaults" (list $root ($entry | default dict)) | fromJson -}}
  {{- if $step.enabled -}}{{- $_ := set $steps $name $step -}}{{- end -}}
{{- end -}}
{{- range $name := include "penstock.stepOrder" $steps | fromJsonArray -}}
  {{- $step := get $steps $name -}}
  {{- $serves := $step.serves | default $name -}}
  {{- $alone := or $step.image $step.program (gt (int $step.gpu.count) 0) (ne $serves $name) -}}
  {{- if and (eq $root.Values.placement "fused") (not $alone) -}}
    {{- $together = append $together $serves -}}
  {{- else -}}
    {{- $image := include "penstock.image" (list $root $name $step.image) -}}
    {{- $_ := set $workers $name (dict "serves" (list $serves) "image" $image "values" $step) -}}
  {{- end -}}
{{- end -}}
{{- if $together -}}
  {{- $fused := include "penstock.overDefaults" (list $root $root.Values.fused) | fromJson -}}
  {{- $image := include "penstock.image" (list $root "step" $fused.image) -}}
  {{- $_ := set $workers "fused" (dict "serves" $together "image" $image "values" $fused) -}}
{{- end -}}
{{- toJson $workers -}}
{{- end }}

{{/* Penstock's own steps in the usual order of a plan, as JSON. */}}
{{- define "penstock.ownSteps" -}}
{{- list "resize" "crop" "rotate" "tile" "split" "adjust" "blur" "contact-sheet" "encode" | toJson -}}
{{- end }}

{{/* The names of steps as JSON: Penstock's own in the usual order of a plan, then the others. */}}
{{- define "penstock.stepOrder" -}}
{{- $own := include "penstock.ownSteps" $ | fromJsonArray -}}
{{- $names := list -}}
{{- range $own -}}{{- if hasKey $ . -}}{{- $names = append $names . -}}{{- end -}}{{- end -}}
{{- range keys . | sortAlpha -}}{{- if not (has . $own) -}}{{- $names = append $names . -}}{{- end -}}{{- end -}}
{{- toJson $names -}}
{{- end }}

{{/* What steps of the user's own accept, as PENSTOCK_DECLARED_STEPS wants it; empty where there are none. */}}
{{- define "penstock.declaredSteps" -}}
{{- $declared := dict -}}
{{- range $name, $worker := include "penstock.workers" . | fromJson -}}
  {{- $step := $worker.values -}}
  {{- if or $step.params $step.program -}}
    {{- $description := dict "params" ($step.params | default dict) -}}
    {{- if $step.group -}}{{- $_ := set $description "group" true -}}{{- end -}}
    {{- $_ := set $declared (first $worker.serves) $description -}}
  {{- end -}}
{{- end -}}
{{- if $declared -}}{{- toJson $declared -}}{{- end -}}
{{- end }}

{{/* The steps that no Deployment serves, as PENSTOCK_DISABLED_STEPS wants them; empty where each is served. */}}
{{- define "penstock.disabledSteps" -}}
{{- $served := list -}}
{{- range $worker := include "penstock.workers" . | fromJson -}}{{- $served = concat $served $worker.serves -}}{{- end -}}
{{- $named := include "penstock.ownSteps" . | fromJsonArray -}}
{{- range $name, $entry := .Values.steps -}}{{- $named = append $named (($entry | default dict).serves | default $name) -}}{{- end -}}
{{- $disabled := list -}}
{{- range uniq $named -}}{{- if not (has . $served) -}}{{- $disabled = append $disabled . -}}{{- end -}}{{- end -}}
{{- join "," $disabled -}}
{{- end }}

{{/*
How many replicas to ask for where values have a number: those that are there if values had it before, because kubectl
scale may have changed them. List of the root, the Deployment's name and that number.
*/}}
{{- define "penstock.replicas" -}}
{{- $asked := last . | int | toString -}}
{{- $live := lookup "apps/v1" "Deployment" (first .).Release.Namespace (index . 1) -}}
{{- $replicas := dig "spec" "replicas" 0 $live | int -}}
{{- $askedBefore := dig "metadata" "annotations" "penstock.dev/replicas" "" $live -}}
{{- if eq $askedBefore $asked -}}{{ $replicas }}{{- else -}}{{ $asked }}{{- end -}}
{{- end }}

{{/* The Deployments that the coordinator scales, as PENSTOCK_AUTOSCALE wants them; empty where there are none. */}}
{{- define "penstock.scalingRules" -}}
{{- $rules := dict -}}
{{- range $name, $worker := include "penstock.workers" . | fromJson -}}
  {{- $scaling := $worker.values.autoscaling -}}
  {{- if eq $scaling.mode "backlog" -}}
    {{- $rule := dict "steps" $worker.serves "min_replicas" (int $scaling.minReplicas) "max_replicas" (int $scaling.maxReplicas) -}}
    {{- $rule = merge $rule (dict "secs_per_replica" $scaling.backlogSecondsPerReplica "scale_down_secs" $scaling.scaleDownStabilizationSeconds "workers_per_replica" (int $worker.values.concurrency)) -}}
    {{- $_ := set $rules (printf "%s-%s" (include "penstock.fullname" $) $name) $rule -}}
  {{- end -}}
{{- end -}}
{{- if $rules -}}{{- toJson $rules -}}{{- end -}}
{{- end }}

{{/* Whether the coordinator calls Kubernetes: "true" or empty. */}}
{{- define "penstock.coordinatorCalls" -}}
{{- if or .Values.coordinator.reportReplicas (include "penstock.scalingRules" .) -}}true{{- end -}}
{{- end }}

{{/* How fast a step grows and shrinks: up at once, down slowly. */}}
{{- define "penstock.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDownStabilizationSeconds }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: 50, periodSeconds: 60}
    - {type: Pods, value: 2, periodSeconds: 60}
{{- end }}

{{/*
The memory that a step's processes need for the largest image that is accepted: 14 bytes for each of its pixels, 3 for
each pixel in flight, and 400 MB. List of the root and the step.
*/}}
{{- define "penstock.stepMemory" -}}
{{- $settings := merge dict (last .).env (first .).Values.settings -}}
{{- $pixels := get $settings "PENSTOCK_MAX_PIXELS" | default 150000000 | int64 -}}
{{- $inFlight := get $settings "PENSTOCK_MAX_PIXELS_IN_FLIGHT" | default 100000000 | int64 -}}
{{- $bytes := add (mul 14 $pixels) (mul 3 $inFlight) 400000000 -}}
{{ div (mul $bytes ((last .).concurrency | int64)) 1048576 }}Mi
{{- end }}

{{/*
A step's resources, its GPUs with them. Requested are 512 MiB per process, which images of up to 50 Mpx need: larger
ones may take it from other pods, up to the limit. List of the root and the step.
*/}}
{{- define "penstock.stepResources" -}}
{{- $step := last . -}}
{{- $memory := dict "memory" (include "penstock.stepMemory" .) -}}
{{- $resources := deepCopy $step.resources -}}
{{- $_ := set $resources "limits" (merge dict ($resources.limits | default dict) $memory) -}}
{{- $usual := printf "%dMi" (mul 512 ($step.concurrency | int64)) -}}
{{- if gt (include "penstock.bytes" $usual | int64) (include "penstock.bytes" $resources.limits.memory | int64) -}}
  {{- $usual = $resources.limits.memory -}}
{{- end -}}
{{- $_ := set $resources "requests" (merge dict ($resources.requests | default dict) (dict "memory" $usual)) -}}
{{- if gt (int $step.gpu.count) 0 -}}
  {{- $_ := set $resources.limits "nvidia.com/gpu" (int $step.gpu.count) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}
