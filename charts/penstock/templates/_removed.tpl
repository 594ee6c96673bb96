{{/*
Removed keys of values. Each fails with its replacement; `*` matches any one key. The schema accepts them with
`"deprecated": true`, so that users get this text.
*/}}
{{- define "penstock.removedKeys" -}}
steps.*.hpa: use the key autoscaling beside it, with mode hpa
stepDefaults.hpa: use the key autoscaling beside it, with mode hpa
{{- end }}

{{- define "penstock.refuseRemovedKeys" -}}
{{- range $path, $text := include "penstock.removedKeys" . | fromYaml -}}
  {{- range include "penstock.findKeys" (list $.Values (splitList "." $path)) | fromJsonArray -}}
    {{- fail (printf "\n\n%s was removed: %s" . $text) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The paths in a map that match a pattern, as JSON. Argument: list of the map and the parts of the pattern. */}}
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
