{{/* Names, labels and addresses. */}}

{{- define "agent-scaler.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 58 | trimSuffix "-" -}}
{{- end -}}

{{/* 63 characters are allowed; the rest is for suffixes. */}}
{{- define "agent-scaler.fullname" -}}
{{- $name := include "agent-scaler.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 58 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 58 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 58 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "agent-scaler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "agent-scaler.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods. Never changes: a Deployment's selector cannot. */}}
{{- define "agent-scaler.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agent-scaler.name" . }}
app.kubernetes.io/instance: {{ toYaml .Release.Name }}
{{- end -}}

{{/* Ours outrank the user's, or the selectors would miss their pods. */}}
{{- define "agent-scaler.podLabels" -}}
{{- $ours := include "agent-scaler.selectorLabels" . | fromYaml -}}
{{- toYaml (merge $ours (.Values.podLabels | default dict) (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{- define "agent-scaler.labels" -}}
{{- $ours := include "agent-scaler.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $ours (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{- define "agent-scaler.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The host that the certificate must name, and what triggers write as scalerAddress. */}}
{{- define "agent-scaler.host" -}}
{{ include "agent-scaler.fullname" . }}.{{ .Release.Namespace }}.svc.cluster.local
{{- end -}}

{{/* What a trigger on a connection of this type says of its queue. */}}
{{- define "agent-scaler.exampleSource" -}}
{{- if eq .type "aws" -}}
source: aws-sqs-queue
connection: {{ toYaml .connection }}
queueURL: "YOUR-QUEUE"   # its URL, or its name
{{- else if eq .type "kafka" -}}
source: kafka
connection: {{ toYaml .connection }}
topic: "YOUR-TOPIC"
consumerGroup: "YOUR-GROUP"
{{- else if eq .type "prometheus" -}}
source: prometheus
connection: {{ toYaml .connection }}
query: "sum(YOUR_TASKS_WAITING)"   # which tenants.NAMESPACE.promql must allow; or a queryPreset
{{- else if eq .type "http" -}}
source: http
connection: {{ toYaml .connection }}
path: "/YOUR-PATH"     # of a JSON document
readyPath: "$.YOUR_TASKS_WAITING"
{{- else -}}
source: redis          # or redis-streams, celery, bullmq, …, which have keys of their own
connection: {{ toYaml .connection }}
listName: "YOUR-LIST"
{{- end -}}
{{- end -}}
