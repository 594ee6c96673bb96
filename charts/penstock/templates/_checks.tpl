{{/* What a schema cannot say: keys that only make sense together. */}}
{{- define "penstock.check" -}}
{{- include "penstock.refuseRemovedKeys" . -}}
{{- $values := .Values -}}
{{- if and (eq $values.database.type "sqlite") (gt (int $values.coordinator.replicas) 1) -}}
  {{- fail (printf "\n\ncoordinator.replicas is %d: more than 1 needs database.type postgresql, SQLite has one writer" (int $values.coordinator.replicas)) -}}
{{- end -}}
{{- if and (eq $values.database.type "postgresql") (not $values.database.existingSecret.name) -}}
  {{- fail "\n\ndatabase.existingSecret.name is empty: postgresql needs the Secret that holds postgresql://user:password@host/name" -}}
{{- end -}}
{{- if and (not $values.rabbitmq.bundled) (not $values.rabbitmq.existingSecret.name) -}}
  {{- fail "\n\nrabbitmq.existingSecret.name is empty: without the bundled RabbitMQ it names the Secret that holds amqp://user:password@host:port/vhost" -}}
{{- end -}}
{{- if and (eq $values.store.type "url") (not $values.store.url) -}}
  {{- fail "\n\nstore.url is empty: store.type url needs gs://bucket/prefix, s3://…, az://… or http://…" -}}
{{- end -}}
{{- range $name, $worker := include "penstock.workers" . | fromJson -}}
  {{- include "penstock.checkWorker" (list $name $worker.values) -}}
{{- end -}}
{{- end }}

{{- define "penstock.checkWorker" -}}
{{- $name := first . -}}
{{- $step := last . -}}
{{- $scaling := $step.autoscaling -}}
{{- if and (not $step.image) (not (has $name (list "resize" "split" "blur" "encode" "blur-gpu" "fused"))) -}}
  {{- fail (printf "\n\nsteps.%s.image is empty: a step of your own needs its image, registry/name:tag" $name) -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
  {{- fail (printf "\n\nsteps.%s.autoscaling.minReplicas is %d: at most maxReplicas, %d, is accepted" $name (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.mode "hpa") (lt (int $scaling.minReplicas) 1) -}}
  {{- fail (printf "\n\nsteps.%s.autoscaling.minReplicas is 0: by CPU at least 1 is needed, mode keda goes to 0" $name) -}}
{{- end -}}
{{- if and (eq $scaling.mode "hpa") (not (dig "requests" "cpu" "" $step.resources)) -}}
  {{- fail (printf "\n\nsteps.%s.resources.requests.cpu is empty: autoscaling.mode hpa measures use by it" $name) -}}
{{- end -}}
{{- end }}
