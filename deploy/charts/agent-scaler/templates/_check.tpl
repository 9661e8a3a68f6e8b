{{/* What the schema cannot say. Every problem is named at once, and no value is repeated: a URL may hold one that is
     secret. */}}

{{- define "agent-scaler.check" -}}
{{- $problems := list -}}
{{- $tls := .Values.tls -}}
{{- if and (ne $tls.mode "off") (not $tls.existingSecret) -}}
{{- $files := eq $tls.mode "mutual" | ternary "tls.crt and tls.key and ca.crt" "tls.crt and tls.key" -}}
{{- $text := printf "tls.existingSecret: is required with tls.mode %s: a Secret with %s" $tls.mode $files -}}
{{- $problems = append $problems $text -}}
{{- end -}}
{{- if and .Values.keda.clusterTriggerAuthentication.create (eq $tls.mode "off") -}}
{{- $problems = append $problems "keda.clusterTriggerAuthentication.create: needs tls.mode server or mutual" -}}
{{- end -}}
{{- if eq (int .Values.ports.grpc) (int .Values.ports.http) -}}
{{- $problems = append $problems "ports: grpc and http are the same" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.httpFrom) -}}
{{- $text := "is empty, so nobody may scrape what serviceMonitor.enabled asks for: name Prometheus's namespace" -}}
{{- $problems = append $problems (printf "networkPolicy.httpFrom: %s" $text) -}}
{{- end -}}
{{- range $name, $connection := .Values.connections -}}
{{- $path := printf "connections.%s" $name -}}
{{- $redis := hasPrefix "redis" .type -}}
{{- range $key := list "url" "urls" -}}
{{- $written := index $connection $key -}}
{{- $urls := list -}}
{{- if kindIs "slice" $written -}}
{{- $urls = $written -}}
{{- else if $written -}}
{{- $urls = splitList "," (toString $written) -}}
{{- end -}}
{{- range $url := $urls -}}
{{- $url = trim (toString $url) -}}
{{- if regexMatch "^[a-z]+://[^/?#]*@" $url -}}
{{- $hint := "give `username`, and `password` as {secret: {name, key}}" -}}
{{- $problems = append $problems (printf "%s.%s: holds credentials: %s" $path $key $hint) -}}
{{- else if and $redis (not (regexMatch "^rediss?://[^/?#]+(/[0-9]*)?$" $url)) -}}
{{- $problems = append $problems (printf "%s.%s: is not redis://HOST:PORT/DATABASE, or rediss:// for TLS" $path $key) -}}
{{- end -}}
{{- if and (has $connection.type (list "http" "prometheus")) (not (regexMatch "^https?://[^/?#]" $url)) -}}
{{- $problems = append $problems (printf "%s.%s: is not http://HOST or https://HOST" $path $key) -}}
{{- end -}}
{{- if and $redis (or $connection.ca $connection.certificate) (not (hasPrefix "rediss://" $url)) -}}
{{- $text := printf "%s.%s: must begin with rediss:// where `ca` or `certificate` is given" $path $key -}}
{{- $problems = append $problems $text -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .username (not .password) $redis -}}
{{- $problems = append $problems (printf "%s.username: needs `password`" $path) -}}
{{- end -}}
{{- end -}}
{{- range $name, $limit := .Values.llmLimits -}}
{{- if not (hasKey $.Values.connections $limit.workersConnection) -}}
{{- $problems = append $problems (printf "llmLimits.%s.workersConnection: no connection of that name" $name) -}}
{{- end -}}
{{- with $limit.prometheusConnection -}}
{{- $named := printf "llmLimits.%s.prometheusConnection" $name -}}
{{- if not (hasKey $.Values.connections .) -}}
{{- $problems = append $problems (printf "%s: no connection of that name" $named) -}}
{{- else if ne (index $.Values.connections .).type "prometheus" -}}
{{- $problems = append $problems (printf "%s: is no connection of type prometheus" $named) -}}
{{- end -}}
{{- end -}}
{{- range $other, $twin := $.Values.llmLimits -}}
{{- if and (lt $other $name) (eq $twin.scope $limit.scope) (eq $twin.workersConnection $limit.workersConnection) -}}
{{- $problems = append $problems (printf "llmLimits.%s.scope: is also that of llmLimits.%s" $name $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with (.Values.defaults).workersConnection -}}
{{- if not (hasKey $.Values.connections .) -}}
{{- $problems = append $problems "defaults.workersConnection: no connection of that name" -}}
{{- end -}}
{{- end -}}
{{- range $namespace, $tenant := .Values.tenants -}}
{{- range $name := .llmLimits -}}
{{- if not (hasKey $.Values.llmLimits $name) -}}
{{- $problems = append $problems (printf "tenants.%s.llmLimits: no limit named %s" $namespace $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .connections -}}
{{- if not (hasKey $.Values.connections $name) -}}
{{- $problems = append $problems (printf "tenants.%s.connections.%s: no connection of that name" $namespace $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $problems -}}
{{- fail (printf "%d %s in the values:\n  %s" (len .) (eq 1 (len .) | ternary "problem" "problems") (join "\n  " .)) -}}
{{- end -}}
{{- end -}}
