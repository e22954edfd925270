{{/* What each platform has that is not as with kubeadm. Sources: docs/install. */}}
{{- define "podgate.platforms" -}}
kubeadm: {}
kind: { mountBpffs: true }
k3s: { binDir: /var/lib/rancher/k3s/data/cni, confDir: /var/lib/rancher/k3s/agent/etc/cni/net.d }
rke2: {}
eks: {}
gke: { binDir: /home/kubernetes/bin, quota: true }
aks: {}
microk8s:
  binDir: /var/snap/microk8s/current/opt/cni/bin
  confDir: /var/snap/microk8s/current/args/cni-network
  kubeletDir: /var/snap/microk8s/common/var/lib/kubelet
crio: { ownSeccompProfile: true }
{{- end -}}

{{/* What holds here: what the values say, else what the platform has, else what kubeadm has. */}}
{{- define "podgate.here" -}}
{{- $platform := get (include "podgate.platforms" . | fromYaml) .Values.platform -}}
{{- $said := dict "binDir" .Values.cni.binDir "confDir" .Values.cni.confDir "kubeletDir" .Values.node.kubeletDir
      "mountBpffs" .Values.node.mountBpffs "ownSeccompProfile" .Values.node.ownSeccompProfile "quota" .Values.quota -}}
{{- $usual := dict "binDir" "/opt/cni/bin" "confDir" "/etc/cni/net.d" "kubeletDir" "/var/lib/kubelet"
      "mountBpffs" false "ownSeccompProfile" false "quota" false -}}
{{- $here := dict -}}
{{- range $key, $value := $said -}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") -}}
{{- $value = dig $key (get $usual $key) $platform -}}
{{- end -}}
{{- $_ := set $here $key $value -}}
{{- end -}}
{{- toYaml $here -}}
{{- end -}}
