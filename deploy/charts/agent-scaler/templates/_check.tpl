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
{{- $times := list (dict "at" "tick" "is" .Values.tick "from" 100 "to" 30000 "said" "within 100ms to 30s") -}}
{{- range $name, $connection := .Values.connections -}}
{{- with .wakeEvery -}}
{{- $at := printf "connections.%s.wakeEvery" $name -}}
{{- $times = append $times (dict "at" $at "is" . "from" 200 "to" 30000 "said" "within 200ms to 30s") -}}
{{- end -}}
{{- end -}}
{{- range $key := list "maxQueueWait" "latencyTarget" "expectedTaskDuration" "stuckAfter" -}}
{{- with get ($.Values.defaults | default dict) $key -}}
{{- $at := printf "defaults.%s" $key -}}
{{- $times = append $times (dict "at" $at "is" . "from" 1000 "to" 9007199254740991 "said" "1s or more") -}}
{{- end -}}
{{- end -}}
{{- range $times -}}
{{- $is := include "agent-scaler.milliseconds" .is | int64 -}}
{{- if or (lt $is (int64 .from)) (gt $is (int64 .to)) -}}
{{- $problems = append $problems (printf "%s: must be %s" .at .said) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.httpFrom) -}}
{{- $text := "is empty, so the NetworkPolicy keeps Prometheus out (serviceMonitor.enabled): name its namespace" -}}
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
{{- if and (hasKey . "bearerToken") (hasKey . "username") -}}
{{- $problems = append $problems (printf "%s.bearerToken: cannot stand beside `username` and `password`" $path) -}}
{{- end -}}
{{- if and .username (not .password) $redis -}}
{{- $problems = append $problems (printf "%s.username: needs `password`" $path) -}}
{{- end -}}
{{- end -}}
{{- range $name, $connection := .Values.connections -}}
{{- if eq .type "kafka" -}}
{{- range $problem := include "agent-scaler.checkKafka" . | fromYamlArray -}}
{{- $problems = append $problems (printf "connections.%s.%s" $name $problem) -}}
{{- end -}}
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

{{/* How a Kafka connection says who it is: the keys that its mechanism needs, and those that it does not take. */}}
{{- define "agent-scaler.checkKafka" -}}
{{- $problems := list -}}
{{- $needed := list -}}
{{- $others := list -}}
{{- $hint := "" -}}
{{- if and (or .ca .certificate) (ne (toString .tls) "true") -}}
{{- $problems = append $problems "tls: must be true where `ca` or `certificate` is given" -}}
{{- end -}}
{{- if ne (.mechanism | default "OAUTHBEARER") "OAUTHBEARER" -}}
{{- $needed = list "username" "password" -}}
{{- $others = list "token" "tokenEndpoint" "clientId" "clientSecret" "scope" -}}
{{- $hint = "needs `mechanism: OAUTHBEARER`" -}}
{{- else if and .mechanism .token -}}
{{- $others = list "username" "password" "tokenEndpoint" "clientId" "clientSecret" "scope" -}}
{{- $hint = "cannot stand beside `token`" -}}
{{- else if .mechanism -}}
{{- $needed = list "tokenEndpoint" "clientId" "clientSecret" -}}
{{- $others = list "username" "password" -}}
{{- $hint = "needs a `mechanism` with a password" -}}
{{- end -}}
{{- range $key := $needed -}}
{{- if not (hasKey $ $key) -}}
{{- $or := eq $key "tokenEndpoint" | ternary ", or else `token`" "" -}}
{{- $problems = append $problems (printf "%s: is required with mechanism %s%s" $key $.mechanism $or) -}}
{{- end -}}
{{- end -}}
{{- range $key := $others -}}
{{- if hasKey $ $key -}}
{{- $problems = append $problems (printf "%s: %s" $key $hint) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{/* A duration such as `1m 30s` in milliseconds. */}}
{{- define "agent-scaler.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" (toString .) -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $sum = add $sum (mul (int64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}
