#!/usr/bin/env bash
# Puts the repository's manifests, the conformance cases and examples of what the other targets read into their corpora.
set -euo pipefail
cd "$(dirname "$0")"
cases=../agent/source/tests/conformance/cases.json
mkdir -p corpus/{admin_request,cni_call,cni_networks,discovery,manifests,watch_events}

# Each line of the input as a file of a target: seed TARGET NAME.
seed() {
  local number=0 line
  while IFS= read -r line; do
    number=$((number + 1))
    printf '%b' "$line" > "corpus/$1/$2-$number"
  done
}

for file in ../deploy/{base,examples/*}/*.yaml ../docs/incidents/*.yaml; do
  cp "$file" "corpus/manifests/$(basename "$(dirname "$file")")-$(basename "$file")"
done
jq -c '.[].steps[].policies[]' "$cases" | sort -u | seed manifests policy

# The digits are those of `Kind::ALL` (agent/source/src/object.rs).
jq -r '.[].steps[0]
  | [.namespaces | to_entries[] | "0" + ({type: "ADDED", object: {metadata: {name: .key, labels: .value}}} | tojson)][:1]
  + [.pods[] | "2" + ({type: "ADDED", object: {metadata: {name, namespace, labels},
      spec: {nodeName: "n", containers: [{name: "c", ports: [{name: "http", containerPort: 80}]}]},
      status: {phase: "Running", podIPs: [{ip}]}}} | tojson)][:1]
  + [.policies[] | ("3" + ({type: "ADDED", object: .} | tojson)), ("3" + ({type: "DELETED", object: .} | tojson))]
  + ["3list"] + [.policies[] | "3" + ({type: "ADDED", object: .} | tojson)] + ["3listed"]
  | join("\\n")' "$cases" | sort -u | seed watch_events case
seed watch_events kinds <<'EOF'
1{"type":"ADDED","object":{"metadata":{"name":"n"},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}}
4{"type":"ADDED","object":{"metadata":{"name":"s","namespace":"x"},"spec":{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],"selector":{"pod":"a"},"ports":[{"port":80,"targetPort":"http"}]}}}
5{"type":"ADDED","object":{"metadata":{"name":"s-1","namespace":"x","labels":{"kubernetes.io/service-name":"s"}},"addressType":"IPv4","endpoints":[{"addresses":["10.244.1.10"]}],"ports":[{"port":80}]}}
EOF

seed cni_call call <<'EOF'
COMMAND=ADD\nCONTAINERID=c\nNETNS=/run/netns/x\nIFNAME=eth0\nARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u\n\n{"cniVersion":"1.0.0","name":"pods","type":"podgate-cni","whenAgentDown":"fail","socket":"/run/x.sock","bootGrace":7,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.1.0.2/24","interface":1},{"address":"fd00::2/64"}]}}
COMMAND=DEL\nCONTAINERID=c\nIFNAME=eth0\n\n{"cniVersion":"0.3.1","bpffs":"/sys/fs/bpf","bindings":"/run/x.bindings"}
COMMAND=VERSION\n\n{"cniVersion":"1.1.0","whenAgentDown":"last-known"}
EOF
seed cni_networks network <<'EOF'
{"name":"pods","cniVersion":"0.4.0","plugins":[{"type":"ptp","mtu":1500,"ipam":{"type":"host-local"}},{"type":"bandwidth","capabilities":{"bandwidth":true}}]}
{"cniVersion":"0.4.0","name":"pods","type":"bridge","bridge":"cni0"}
{"plugins":[{"type":"ptp"},{"type":"podgate-cni","whenAgentDown":"last-known"},{"type":"tuning","ratio":1.5}]}
EOF
seed admin_request request <<'EOF'
{"version":1,"request":"status"}
{"version":1,"request":"alive"}
{"version":1,"request":{"check":7}}
{"version":1,"request":{"hand_over":{"namespace":"shop","name":"web","uid":"u-1","ifindex":7,"addresses":["10.0.0.1","fd00::1"],"mac":[2,0,0,0,0,9]}}}
{"version":1,"request":{"flows":{"filter":{"verdicts":["denied"],"pod":"shop/web"},"last":5,"follow":true}}}
EOF
