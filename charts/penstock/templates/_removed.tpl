{{/*
Keys that values had once. Each fails with the way on; `*` stands for any one key. The schema lets them through, with
`"deprecated": true`, so that it is this text that is read.
*/}}
{{- define "penstock.removedKeys" -}}
steps.*.hpa: the key autoscaling beside it has this, with mode hpa
stepDefaults.hpa: the key autoscaling beside it has this, with mode hpa
{{- end }}

{{- define "penstock.refuseRemovedKeys" -}}
{{- range $path, $text := include "penstock.removedKeys" . | fromYaml -}}
  {{- range include "penstock.findKeys" (list $.Values (splitList "." $path)) | fromJsonArray -}}
    {{- fail (printf "\n\n%s was removed: %s" . $text) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The paths below a map that a pattern matches, as JSON: list of the map and the pattern's parts. */}}
{{- define "penstock.findKeys" -}}
{{- $map := first . -}}
{{- $rest := rest (last .) -}}
{{- $found := list -}}
{{- range $key := ternary (keys $map | sortAlpha) (list (first (last .))) (eq "*" (first (last .))) -}}
  {{- if hasKey $map $key -}}
    {{- if not $rest -}}
      {{- $found = append $found $key -}}
    {{- else if kindIs "map" (get $map $key) -}}
      {{- range include "penstock.findKeys" (list (get $map $key) $rest) | fromJsonArray -}}
        {{- $found = append $found (printf "%s.%s" $key .) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}
