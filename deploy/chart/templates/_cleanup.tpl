{{/*
The pod that removes what podgate has left on its node, and stays, as the pods of a DaemonSet must. Its container fails, and is
tried again, as long as something is left or an agent is at work.
*/}}
{{- define "podgate.cleanupPod" -}}
{{- $here := include "podgate.here" . | fromYaml -}}
automountServiceAccountToken: false
{{ include "podgate.placement" . }}
terminationGracePeriodSeconds: 5
securityContext:
  seccompProfile:
    type: {{ ternary "Unconfined" "RuntimeDefault" $here.ownSeccompProfile }}
{{- if $here.ownSeccompProfile }}
  seLinuxOptions:
    type: spc_t
{{- end }}
containers:
  - name: cleanup
    {{- include "podgate.container" . | nindent 4 }}
    args: [cleanup, --stay]
    env:
      - name: PODGATE_BPFFS
        value: /bpf/podgate
      {{- include "podgate.cniEnv" . | trim | nindent 6 }}
    resources:
      {{- toYaml .Values.resources.short | nindent 6 }}
    securityContext:
      {{- include "podgate.confined" . | nindent 6 }}
        add:
          # To find the programs and the tables, and to take the programs off interfaces.
          - BPF
          - PERFMON
          - NET_ADMIN
          # The directory of plugins often belongs to whoever packed the archive that it was unpacked from.
          - DAC_OVERRIDE
    volumeMounts:
      # All of the file system, since podgate's directory in it is removed too.
      - name: bpffs
        mountPath: /bpf
      - name: run
        mountPath: /run/podgate
      - name: cni-bin
        mountPath: {{ $here.binDir }}
      - name: cni-conf
        mountPath: {{ $here.confDir }}
volumes:
  - name: bpffs
    hostPath:
      path: /sys/fs/bpf
      type: DirectoryOrCreate
  - name: run
    hostPath:
      path: /run/podgate
      type: DirectoryOrCreate
  - name: cni-bin
    hostPath:
      path: {{ $here.binDir }}
      type: DirectoryOrCreate
  - name: cni-conf
    hostPath:
      path: {{ $here.confDir }}
      type: DirectoryOrCreate
{{- end -}}
