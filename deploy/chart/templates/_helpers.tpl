{{/* What every object is called by. */}}
{{- define "podgate.labels" -}}
app.kubernetes.io/name: podgate
app.kubernetes.io/part-of: podgate
{{- end -}}

{{- define "podgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The agent's settings: only what is not the agent's default. */}}
{{- define "podgate.settings" -}}
{{- $settings := dict "PODGATE_LOG_FORMAT" .Values.logFormat -}}
{{- if .Values.audit }}{{ $_ := set $settings "PODGATE_AUDIT" "true" }}{{ end -}}
{{- if ne .Values.attribution "policy" }}{{ $_ := set $settings "PODGATE_METRICS_ATTRIBUTION" .Values.attribution }}{{ end -}}
{{- if ne .Values.services "exit" }}{{ $_ := set $settings "PODGATE_SERVICES" .Values.services }}{{ end -}}
{{- if ne .Values.clusterPolicies "off" }}{{ $_ := set $settings "PODGATE_CLUSTER_POLICIES" .Values.clusterPolicies }}{{ end -}}
{{- if ne .Values.liveConnections "cut" }}{{ $_ := set $settings "PODGATE_LIVE_CONNECTIONS" .Values.liveConnections }}{{ end -}}
{{- if .Values.metrics.tokenSecret }}{{ $_ := set $settings "PODGATE_METRICS_TOKEN_FILE" "/etc/podgate/metrics/token" }}{{ end -}}
{{- if .Values.metrics.public }}{{ $_ := set $settings "PODGATE_METRICS_PUBLIC" "true" }}{{ end -}}
{{- range $name, $value := mergeOverwrite $settings .Values.settings }}
{{ $name }}: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}

{{/* What a container may do: nothing but what is named. */}}
{{- define "podgate.confined" -}}
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The image, as every container has it. */}}
{{- define "podgate.container" -}}
image: {{ include "podgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* Where this is not the binary's default, the container is told. */}}
{{- define "podgate.cniEnv" -}}
{{- $here := include "podgate.here" . | fromYaml -}}
{{- if ne $here.binDir "/opt/cni/bin" }}
- name: PODGATE_CNI_BIN_DIR
  value: {{ $here.binDir }}
{{- end }}
{{- if ne $here.confDir "/etc/cni/net.d" }}
- name: PODGATE_CNI_CONF_DIR
  value: {{ $here.confDir }}
{{- end }}
{{- end -}}

{{/* Where pods of podgate run, and before whom. */}}
{{- define "podgate.placement" -}}
# The pods' interfaces are in the host's network namespace, and the agent must run before any network does.
hostNetwork: true
# The API server is reached by address; what is resolved besides is resolved as the node does.
dnsPolicy: Default
# Without it a node starts pods that nobody isolates: it is scheduled first and evicted last.
priorityClassName: {{ .Values.priorityClassName }}
nodeSelector:
  {{- toYaml .Values.nodeSelector | nindent 2 }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Pods run on nodes that are not ready, full, cordoned or reserved: there too they are enforced.
tolerations:
  {{- toYaml .Values.tolerations | nindent 2 }}
{{- include "podgate.pullSecrets" . }}
{{- end -}}

{{- define "podgate.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What `helm test` makes. All of it has one name: `helm test --logs` asks for the log of a pod of each object's name. */}}
{{- define "podgate.testMeta" -}}
name: podgate-test
namespace: {{ .Release.Namespace }}
labels:
  app.kubernetes.io/name: podgate-test
  app.kubernetes.io/part-of: podgate
{{- end -}}

{{- define "podgate.testConfined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
