{{/* Checks that a schema cannot express: keys that depend on each other. Contradictory values fail; none is dropped silently. */}}
{{- define "penstock.check" -}}
{{- include "penstock.refuseRemovedKeys" . -}}
{{- include "penstock.checkServers" . -}}
{{- include "penstock.checkStore" . -}}
{{- include "penstock.checkFrontDoor" . -}}
{{- include "penstock.checkSettings" (list "settings" .Values.settings) -}}
{{- include "penstock.checkEnvironment" (list "coordinator" .Values.coordinator) -}}
{{- include "penstock.checkAccounts" . -}}
{{- range $name := list "coordinator" "web" "rabbitmq" -}}
  {{- include "penstock.checkResources" (list $name (index $.Values $name).resources) -}}
{{- end -}}
{{- $served := list -}}
{{- range $name, $worker := include "penstock.workers" . | fromJson -}}
  {{- include "penstock.checkWorker" (list $ $name $worker) -}}
  {{- $served = concat $served $worker.serves -}}
{{- end -}}
{{- if not (has "encode" $served) -}}
  {{- fail "\n\nsteps.encode.enabled is false, and no other step serves encode: every job ends with it" -}}
{{- end -}}
{{- end }}

{{- define "penstock.checkServers" -}}
{{- $values := .Values -}}
{{- $database := $values.database -}}
{{- if and (eq $database.type "sqlite") (gt (int $values.coordinator.replicas) 1) -}}
  {{- fail (printf "\n\ncoordinator.replicas is %d: more than 1 needs database.type postgresql, SQLite has one writer" (int $values.coordinator.replicas)) -}}
{{- end -}}
{{- if and (eq $database.type "postgresql") (not $database.existingSecret.name) -}}
  {{- fail "\n\ndatabase.existingSecret.name is empty: postgresql needs the Secret that holds postgresql://user:password@host/name" -}}
{{- end -}}
{{- if and (eq $database.type "sqlite") $database.existingSecret.name -}}
  {{- fail (printf "\n\ndatabase.existingSecret.name is %s: it is used only with database.type postgresql" $database.existingSecret.name) -}}
{{- end -}}
{{- $rabbitmq := $values.rabbitmq -}}
{{- if and (not $rabbitmq.bundled) (not $rabbitmq.existingSecret.name) -}}
  {{- fail "\n\nrabbitmq.existingSecret.name is empty: without the bundled RabbitMQ it names the Secret that holds amqp://user:password@host:port/vhost" -}}
{{- end -}}
{{- $memory := include "penstock.rabbitmqMemory" . -}}
{{- if and $rabbitmq.bundled $memory (not (regexMatch "^[0-9]+([MG]i?B)?$" $memory)) -}}
  {{- fail (printf "\n\nrabbitmq.resources.limits.memory is %v: RabbitMQ accepts only whole numbers, such as 1536Mi" $rabbitmq.resources.limits.memory) -}}
{{- end -}}
{{- $queues := $rabbitmq.persistence -}}
{{- if and $rabbitmq.bundled $queues.enabled (ge (include "penstock.bytes" $rabbitmq.diskFreeLimit | int64) (include "penstock.bytes" $queues.size | int64)) -}}
  {{- fail (printf "\n\nrabbitmq.diskFreeLimit is %s: less than rabbitmq.persistence.size, %v, is needed, or publishers are always blocked" $rabbitmq.diskFreeLimit $queues.size) -}}
{{- end -}}
{{- if and (not $values.apiKeys.enabled) (hasKey $values.settings "PENSTOCK_API_KEYS") -}}
  {{- fail "\n\nsettings.PENSTOCK_API_KEYS is set: with apiKeys.enabled false, no key is required" -}}
{{- end -}}
{{- if and (not $values.apiKeys.enabled) $values.apiKeys.existingSecret -}}
  {{- fail (printf "\n\napiKeys.existingSecret is %s: with apiKeys.enabled false, no key is required" $values.apiKeys.existingSecret) -}}
{{- end -}}
{{- end }}

{{- define "penstock.checkStore" -}}
{{- $store := .Values.store -}}
{{- if and (eq $store.type "url") (not $store.url) -}}
  {{- fail "\n\nstore.url is empty: store.type url needs gs://bucket/prefix, s3://…, az://… or http://…" -}}
{{- end -}}
{{- if and (eq $store.type "web") $store.url -}}
  {{- fail (printf "\n\nstore.url is %s: it is used only with store.type url" $store.url) -}}
{{- end -}}
{{- $upload := get .Values.settings "PENSTOCK_MAX_UPLOAD_BYTES" | int64 -}}
{{- $body := include "penstock.bodyBytes" .Values.web.limits.body | int64 -}}
{{- if and (eq $store.type "web") (gt $body 0) (gt $upload $body) -}}
  {{- fail (printf "\n\nweb.limits.body is %s: settings.PENSTOCK_MAX_UPLOAD_BYTES, %d, and the form around it need more" .Values.web.limits.body $upload) -}}
{{- end -}}
{{- end }}

{{/* Bytes of a quantity as Kubernetes writes it, or of a size as RabbitMQ does. */}}
{{- define "penstock.bytes" -}}
{{ include "penstock.amount" . | float64 | int64 }}
{{- end }}

{{/* Bytes of a size as nginx writes it; 0: any. */}}
{{- define "penstock.bodyBytes" -}}
{{- $units := dict "k" 1024 "m" 1048576 "g" 1073741824 -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[kmg]$" (lower .)) | default 1) -}}
{{- end }}

{{- define "penstock.checkFrontDoor" -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
  {{- if and (not $gateway.className) (not $gateway.parentRefs) -}}
    {{- fail "\n\ngateway.className and gateway.parentRefs are empty: set one of them to name the Gateway" -}}
  {{- end -}}
  {{- if and $gateway.className $gateway.parentRefs -}}
    {{- fail (printf "\n\ngateway.className is %s, and gateway.parentRefs names an existing Gateway: set only one of them" $gateway.className) -}}
  {{- end -}}
  {{- if and $gateway.tlsSecret $gateway.certificateMap -}}
    {{- fail (printf "\n\ngateway.tlsSecret is %s, and gateway.certificateMap %s: set only one of them" $gateway.tlsSecret $gateway.certificateMap) -}}
  {{- end -}}
  {{- if and (not $gateway.className) (or $gateway.tlsSecret $gateway.certificateMap) -}}
    {{- fail "\n\ngateway.className is empty: gateway.tlsSecret and gateway.certificateMap are for a Gateway that the chart creates" -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* Settings that other keys set, and settings that the chart sets itself. */}}
{{- define "penstock.takenSettings" -}}
PENSTOCK_ACCEL_PREFIX: store.type
PENSTOCK_AUTOSCALE: steps.<name>.autoscaling
PENSTOCK_API_KEYS_FILE: apiKeys.existingSecret
PENSTOCK_BROKER_URL: rabbitmq.existingSecret
PENSTOCK_CONCURRENCY: steps.<name>.concurrency
PENSTOCK_DATABASE_URL: database.existingSecret
PENSTOCK_DECLARED_STEPS: steps.<name>.params
PENSTOCK_DELETION_COST: deletionCost.enabled
PENSTOCK_DISABLED_STEPS: steps.<name>.enabled
PENSTOCK_KUBERNETES_SELECTOR: coordinator.reportReplicas
PENSTOCK_OPEN: apiKeys.enabled
PENSTOCK_PROGRAM: steps.<name>.program
PENSTOCK_SOURCES: store.sources
PENSTOCK_STEPS: steps.<name>.serves
PENSTOCK_STORE_TOKEN: store.tokenSecret
PENSTOCK_STORE_URL: store.url
PENSTOCK_WEBHOOK_SECRET: webhooks.existingSecret
PENSTOCK_DATA: ""
PENSTOCK_HOST: ""
PENSTOCK_LIVENESS_FILE: ""
PENSTOCK_POD_NAME: ""
PENSTOCK_POD_NAMESPACE: ""
PENSTOCK_PORT: ""
{{- end }}

{{/* Settings by name: list of the key's path and the map. The schema checks their form. */}}
{{- define "penstock.checkSettings" -}}
{{- $path := first . -}}
{{- $rules := include "penstock.settingRules" . | fromYaml -}}
{{- $taken := include "penstock.takenSettings" . | fromYaml -}}
{{- range $name, $value := last . -}}
  {{- if hasKey $taken $name -}}
    {{- $key := get $taken $name -}}
    {{- fail (printf "\n\n%s.%s is set: %s" $path $name (ternary (printf "use the key %s instead" $key) "the chart itself sets it" (ne $key ""))) -}}
  {{- end -}}
  {{- $rule := get $rules $name | default dict -}}
  {{- if $rule.accepted -}}
    {{- $number := float64 $value -}}
    {{- $low := and (hasKey $rule "minimum") (lt $number (float64 $rule.minimum)) -}}
    {{- $none := and (hasKey $rule "exclusiveMinimum") (le $number (float64 $rule.exclusiveMinimum)) -}}
    {{- if or $low $none (and (hasKey $rule "maximum") (gt $number (float64 $rule.maximum))) -}}
      {{- fail (printf "\n\n%s.%s is %s: accepted is %s" $path $name $value $rule.accepted) -}}
    {{- end -}}
  {{- else if $rule.entries -}}
    {{- include "penstock.checkList" (list (printf "%s.%s" $path $name) $value $rule) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* A setting that is a JSON list: list of its path, its text and its rule. Values stay out of messages: they may be keys. */}}
{{- define "penstock.checkList" -}}
{{- $path := first . -}}
{{- $rule := last . -}}
{{- $read := fromJson (printf "{\"entries\": %s}" (index . 1)) -}}
{{- if not (kindIs "slice" $read.entries) -}}
  {{- fail (printf "\n\n%s is not JSON: accepted is a JSON list" $path) -}}
{{- end -}}
{{- range $index, $entry := $read.entries -}}
  {{- if not (kindIs (ternary "map" "string" (eq $rule.entries "object")) $entry) -}}
    {{- fail (printf "\n\n%s: entry %d is not a JSON %s" $path $index $rule.entries) -}}
  {{- end -}}
  {{- range $name := $rule.required -}}
    {{- if not (hasKey $entry $name) -}}{{- fail (printf "\n\n%s: entry %d has no %s" $path $index $name) -}}{{- end -}}
  {{- end -}}
  {{- if kindIs "map" $entry -}}
    {{- range $name, $value := $entry -}}
      {{- if not (has $name $rule.known) -}}
        {{- fail (printf "\n\n%s: entry %d has %s: accepted are %s" $path $index $name (join ", " $rule.known)) -}}
      {{- end -}}
      {{- $pattern := get $rule.patterns $name -}}
      {{- if and $pattern (not (regexMatch $pattern (toString $value))) -}}
        {{- fail (printf "\n\n%s: entry %d: %s does not match %s" $path $index $name $pattern) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The variables of a component, each of which is set once: list of its path and its values. */}}
{{- define "penstock.checkEnvironment" -}}
{{- $path := first . -}}
{{- $values := last . -}}
{{- include "penstock.checkSettings" (list (printf "%s.env" $path) $values.env) -}}
{{- $taken := include "penstock.takenSettings" . | fromYaml -}}
{{- $names := keys $values.env -}}
{{- range $entry := $values.extraEnv -}}
  {{- if hasKey $taken $entry.name -}}
    {{- $key := get $taken $entry.name -}}
    {{- fail (printf "\n\n%s.extraEnv has %s: %s" $path $entry.name (ternary (printf "use the key %s instead" $key) "the chart itself sets it" (ne $key ""))) -}}
  {{- end -}}
  {{- if has $entry.name $names -}}
    {{- fail (printf "\n\n%s.extraEnv has %s, which env or another entry sets as well: set it once" $path $entry.name) -}}
  {{- end -}}
  {{- $names = append $names $entry.name -}}
{{- end -}}
{{- end }}

{{/* Service accounts that the chart gives rights to. */}}
{{- define "penstock.checkAccounts" -}}
{{- $rights := dict -}}
{{- if .Values.coordinator.reportReplicas -}}{{- $_ := set $rights "coordinator" "coordinator.reportReplicas lets it read Deployments" -}}{{- end -}}
{{- if include "penstock.scalingRules" . -}}{{- $_ := set $rights "coordinator" "autoscaling.mode backlog lets it scale Deployments" -}}{{- end -}}
{{- if .Values.deletionCost.enabled -}}{{- $_ := set $rights "steps" "deletionCost.enabled lets it patch pods" -}}{{- end -}}
{{- range $name, $right := $rights -}}
  {{- if eq "default" (include "penstock.serviceAccount" (list $ $name)) -}}
    {{- fail (printf "\n\nserviceAccounts.%s is the account default, which all other pods of the namespace have: %s. Name another one, or set create" $name $right) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* A container's requests and limits: list of its path and its resources. */}}
{{- define "penstock.checkResources" -}}
{{- $path := first . -}}
{{- $limits := (last .).limits | default dict -}}
{{- range $name, $request := (last .).requests | default dict -}}
  {{- if and (hasKey $limits $name) (gt (include "penstock.amount" $request | float64) (include "penstock.amount" (get $limits $name) | float64)) -}}
    {{- fail (printf "\n\n%s.resources.requests.%s is %v: it must not exceed the limit, %v" $path $name $request (get $limits $name)) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* A quantity as a number. */}}
{{- define "penstock.amount" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- if kindIs "string" . -}}
{{ mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "(m|[kMGTP]i?)" .) | default 1.0) }}
{{- else -}}
{{ float64 . }}
{{- end -}}
{{- end }}

{{/* A Deployment that serves steps: list of the root, its name and its entry of penstock.workers. */}}
{{- define "penstock.checkWorker" -}}
{{- $root := first . -}}
{{- $name := index . 1 -}}
{{- $step := (last .).values -}}
{{- $path := ternary "fused" (printf "steps.%s" $name) (eq $name "fused") -}}
{{- $scaling := $step.autoscaling -}}
{{- if and (not $step.image) (not (has $name (concat (include "penstock.ownSteps" $root | fromJsonArray) (list "blur-gpu" "fused")))) -}}
  {{- fail (printf "\n\n%s.image is empty: Penstock has no image for it; give registry/name:tag" $path) -}}
{{- end -}}
{{- $known := concat (include "penstock.ownSteps" $root | fromJsonArray) (include "penstock.declaredSteps" $root | default "{}" | fromJson | keys) -}}
{{- if not (or $root.Values.coordinator.image (has (first (last .).serves) $known)) -}}
  {{- fail (printf "\n\n%s.params is empty: the coordinator needs the JSON Schema of the step's parameters, {type: object, properties: {}} if it has none; or coordinator.image with the step's package" $path) -}}
{{- end -}}
{{- include "penstock.checkEnvironment" (list $path $step) -}}
{{- include "penstock.checkResources" (list $path (include "penstock.stepResources" (list $root $step) | fromYaml)) -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
  {{- fail (printf "\n\n%s.autoscaling.minReplicas is %d: it must not exceed maxReplicas, %d" $path (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (ne $scaling.mode "keda") (not (kindIs "invalid" $scaling.fallbackReplicas)) -}}
  {{- fail (printf "\n\n%s.autoscaling.fallbackReplicas is %v: it is used only with mode keda" $path $scaling.fallbackReplicas) -}}
{{- end -}}
{{- if and (eq $scaling.mode "hpa") (lt (int $scaling.minReplicas) 1) -}}
  {{- fail (printf "\n\n%s.autoscaling.minReplicas is 0: mode hpa needs at least 1; modes backlog and keda support 0" $path) -}}
{{- end -}}
{{- if and (eq $scaling.mode "hpa") (not (dig "requests" "cpu" "" $step.resources)) -}}
  {{- fail (printf "\n\n%s.resources.requests.cpu is empty: autoscaling.mode hpa needs it" $path) -}}
{{- end -}}
{{- $given := ternary $root.Values.fused (get $root.Values.steps $name) (eq $name "fused") | default dict -}}
{{- if and (ne $scaling.mode "none") (not (kindIs "invalid" $given.replicas)) -}}
  {{- fail (printf "\n\n%s.replicas is %v: with autoscaling.mode %s the autoscaler sets it, between minReplicas and maxReplicas" $path $given.replicas $scaling.mode) -}}
{{- end -}}
{{- $drain := get $step.env "PENSTOCK_DRAIN_SECS" | default (get $root.Values.settings "PENSTOCK_DRAIN_SECS") | default "14" -}}
{{- if le (float64 $step.terminationGracePeriodSeconds) (float64 $drain) -}}
  {{- fail (printf "\n\n%s.terminationGracePeriodSeconds is %v: more than PENSTOCK_DRAIN_SECS, %s, is needed, or a pod is killed while it finishes" $path $step.terminationGracePeriodSeconds $drain) -}}
{{- end -}}
{{- end }}
