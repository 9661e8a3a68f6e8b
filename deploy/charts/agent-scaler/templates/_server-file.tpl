{{/* The server's file, and the Secrets that it names as files. */}}

{{- define "agent-scaler.serverFile" -}}
# The server's file: read once, at the start; unknown keys are refused. `agent-scaler keys --server` explains them.
# gRPC, for KEDA.
listen: 0.0.0.0:{{ .Values.ports.grpc }}
# HTTP, for probes, metrics and /decisions.
admin: 0.0.0.0:{{ .Values.ports.http }}
{{- if (.Values.adminToken).secret }}
adminToken: { file: /secrets/admin-token }
{{- end }}
{{- with .Values.adminHosts }}
adminHosts: {{ toJson . }}
{{- end }}

{{ if eq .Values.tls.mode "off" -}}
# In the clear, inside the cluster. Whoever reaches the port may ask for any trigger, so the NetworkPolicy lets in
# KEDA's namespace only. With mutual TLS KEDA also proves who it is.
tls: { mode: "off" }
{{- else -}}
# Read again when the Secret changes.
tls:
  mode: {{ .Values.tls.mode }}
  certificate: /tls/tls.crt
  key: /tls/tls.key
  {{- if eq .Values.tls.mode "mutual" }}
  clientCa: /tls/ca.crt
  {{- end }}
{{- end }}

# How often every queue is read.
tick: {{ toYaml .Values.tick }}
# More are refused.
maxTriggers: {{ int64 .Values.maxTriggers }}
# KEDA looks up our addresses when it connects, and at no other time.
maxConnectionAge: {{ toYaml .Values.maxConnectionAge }}
{{- with .Values.connections }}

# Credentials and certificates are read again when their Secrets change.
connections:
  {{- range $name, $connection := . }}
  {{- $folder := printf "/secrets/connections/%s" $name }}
  {{ toYaml $name }}:
    type: {{ toYaml .type }}
    {{- range $key := include "agent-scaler.connectionKeys" . | fromYamlArray }}
    {{- $value := index $connection $key }}
    {{- if kindIs "map" $value }}
    {{- $path := printf "%s/%s" $folder (include "agent-scaler.connectionFile" $key) }}
    {{- if has $key (list "ca" "certificate" "key") }}
    {{ $key }}: {{ $path }}
    {{- else }}
    {{ $key }}: { file: {{ $path }} }
    {{- end }}
    {{- else if kindIs "slice" $value }}
    {{ $key }}: {{ toJson $value }}
    {{- else if kindIs "string" $value }}
    {{ $key }}: {{ toYaml $value }}
    {{- else if kindIs "bool" $value }}
    {{ $key }}: {{ $value }}
    {{- else }}
    {{ $key }}: {{ include "agent-scaler.number" $value }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.llmLimits }}

# Rate limits that workers share; triggers use their names as `llmLimit`. What is not known is left out.
llmLimits:
  {{- range $name, $limit := . }}
  {{ toYaml $name }}:
    {{- range $key := include "agent-scaler.limitKeys" . | fromYamlArray }}
    {{- $value := index $limit $key }}
    {{- if kindIs "map" $value }}
    {{ $key }}:
      {{- range $name, $number := $value }}
      {{ toYaml $name }}: {{ include "agent-scaler.number" $number }}
      {{- end }}
    {{- else if kindIs "string" $value }}
    {{ $key }}: {{ toYaml $value }}
    {{- else if kindIs "bool" $value }}
    {{ $key }}: {{ $value }}
    {{- else }}
    {{ $key }}: {{ include "agent-scaler.number" $value }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if kindIs "map" .Values.tenants }}

# Which namespace may watch which queues and share which limits. With this block every other namespace is refused.
{{- if .Values.tenants }}
tenants:
  {{- toYaml .Values.tenants | nindent 2 }}
{{- else }}
tenants: {}
{{- end }}
{{- end }}
{{- with .Values.defaults }}

# For triggers that do not say it themselves.
defaults:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A number as it was written: Helm would write 2000000 as 2e+06. */}}
{{- define "agent-scaler.number" -}}
{{- if eq (float64 .) (floor .) }}{{ int64 . }}{{ else }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The keys of a connection beside its type, in the order in which people should read them. */}}
{{- define "agent-scaler.connectionKeys" -}}
{{- $first := list "url" "urls" "master" "username" "password" -}}
{{- $last := list "ca" "certificate" "key" -}}
{{- include "agent-scaler.ordered" (dict "of" (omit . "type") "first" $first "last" $last) -}}
{{- end -}}

{{/* The keys of a limit likewise. Empty maps are left out: they say nothing. */}}
{{- define "agent-scaler.limitKeys" -}}
{{- $first := list "workersConnection" "scope" "requestsPerMinute" "inputTokensPerMinute" "outputTokensPerMinute"
    "tokensPerMinute" "requestsPerDay" "inputTokensPerDay" "outputTokensPerDay" "tokensPerDay" "concurrency" -}}
{{- $last := list "usePerTask" "weights" "publishShares" "prometheusConnection" "headroomPreset" "headroomModel" -}}
{{- $said := dict -}}
{{- range $key, $value := . -}}
{{- if or $value (not (kindIs "map" $value)) -}}
{{- $_ := set $said $key $value -}}
{{- end -}}
{{- end -}}
{{- include "agent-scaler.ordered" (dict "of" $said "first" $first "last" $last) -}}
{{- end -}}

{{/* All keys of the map `of`: those in `first`, others, those in `last`. None is lost because nobody has listed it. */}}
{{- define "agent-scaler.ordered" -}}
{{- $others := keys .of | sortAlpha -}}
{{- range concat .first .last -}}
{{- $others = without $others . -}}
{{- end -}}
{{- $keys := list -}}
{{- range $key := concat .first $others .last -}}
{{- if hasKey $.of $key -}}
{{- $keys = append $keys $key -}}
{{- end -}}
{{- end -}}
{{- toYaml $keys -}}
{{- end -}}

{{/* The name of the file that holds the secret at a key of a connection. */}}
{{- define "agent-scaler.connectionFile" -}}
{{- get (dict "ca" "ca.crt" "certificate" "tls.crt" "key" "tls.key") . | default . -}}
{{- end -}}

{{/* Sources of the projected volume /secrets; nothing where no Secret is named. */}}
{{- define "agent-scaler.secretSources" -}}
{{- with (.Values.adminToken).secret }}
- secret:
    name: {{ toYaml .name }}
    items:
    - {key: {{ toYaml .key }}, path: admin-token}
{{- end }}
{{- range $name, $connection := .Values.connections }}
{{- range $key, $value := $connection }}
{{- if kindIs "map" $value }}
- secret:
    name: {{ toYaml $value.secret.name }}
    items:
    - {key: {{ toYaml $value.secret.key }}, path: connections/{{ $name }}/{{ include "agent-scaler.connectionFile" $key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
