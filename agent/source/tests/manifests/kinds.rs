//! Pods, namespaces, nodes, Services and EndpointSlices.

use std::net::IpAddr;
use std::path::Path;

use podgate_policy::model::{ContainerPort, Labels, Namespace, ObjectKey, Phase, Pod, Protocol};
use podgate_policy::services::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, Node, Service, ServiceForm, ServicePort, TargetPort,
    TrafficPolicy,
};
use podgate_source::{Change, ObjectRef, manifests};

use crate::{parse, problems, sound};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

fn only_pod(text: &str) -> Pod {
    let loaded = parse(text);
    assert_eq!(loaded.cluster.pods.len(), 1, "{text}");
    loaded.cluster.pods.values().next().map(|pod| Pod::clone(pod)).expect("one pod")
}

fn pod(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, {rest}}}")
}

#[test]
fn pod_keeps_what_policy_needs() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\n  uid: u-1\n  labels: {app: web, empty: ''}\n\
                spec:\n  nodeName: n1\n  hostNetwork: true\n  containers:\n  - name: a\n    image: x\n    ports:\n    - {name: http, \
                containerPort: 80}\n    - {containerPort: 53, protocol: UDP, hostPort: 5353}\n\
                status:\n  phase: Running\n  podIP: 10.0.0.9\n  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]\n";
    let port = |name: Option<&str>, protocol, number, host_port| ContainerPort {
        name: name.map(Into::into),
        protocol,
        number,
        host_port,
    };
    let expected = Pod {
        key: ObjectKey::new("shop", "web"),
        uid: "u-1".into(),
        labels: labels(&[("app", "web"), ("empty", "")]),
        workload: None,
        node: Some("n1".into()),
        host_network: true,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![ip("10.0.0.1"), ip("fd00::1")],
        ports: vec![port(Some("http"), Protocol::Tcp, 80, None), port(None, Protocol::Udp, 53, Some(5353))],
    };
    assert_eq!(only_pod(text), expected);
    sound(text);
}

#[test]
fn pod_is_a_replica_of_its_controller_and_of_the_deployment_of_a_replica_set() {
    let workload = |labels: &str, owners: &str| {
        let meta = format!("{{name: p, labels: {{{labels}}}, ownerReferences: [{owners}]}}");
        let it = only_pod(&format!("{{apiVersion: v1, kind: Pod, metadata: {meta}}}")).workload;
        it.map(|it| format!("{} {}", it.kind, it.name))
    };
    let owner = |kind: &str, name: &str, more: &str| {
        format!("{{apiVersion: apps/v1, kind: {kind}, name: {name}, uid: u-1{more}}}")
    };
    let controller = |kind, name| owner(kind, name, ", controller: true");
    let hashed = "pod-template-hash: 5d78";
    for (labels, owners, expected) in [
        (hashed, controller("ReplicaSet", "web-5d78"), Some("Deployment web")),
        (hashed, controller("ReplicaSet", "web-77"), Some("ReplicaSet web-77")),
        (hashed, controller("ReplicaSet", "5d78"), Some("ReplicaSet 5d78")),
        ("", controller("ReplicaSet", "web-5d78"), Some("ReplicaSet web-5d78")),
        (hashed, controller("StatefulSet", "web-5d78"), Some("StatefulSet web-5d78")),
        ("", owner("Node", "n1", "") + ", " + &controller("Job", "once"), Some("Job once")),
        ("", owner("Node", "n1", ""), None),
        ("", String::new(), None),
    ] {
        assert_eq!(workload(labels, &owners), expected.map(str::to_owned), "{labels} {owners}");
    }
}

#[test]
fn static_pod_has_the_uid_by_which_its_node_knows_it() {
    let mirror = |annotations: &str| {
        let meta = format!("{{name: p, uid: u-1, annotations: {{{annotations}}}}}");
        only_pod(&format!("{{apiVersion: v1, kind: Pod, metadata: {meta}}}")).uid
    };
    assert_eq!(&*mirror("kubernetes.io/config.mirror: 4f2a, kubernetes.io/config.hash: 4f2a"), "4f2a");
    assert_eq!([&*mirror("kubernetes.io/config.mirror: ''"), &*mirror("a: b")], ["u-1", "u-1"]);
}

#[test]
fn pod_without_pod_ips_has_its_pod_ip() {
    assert_eq!(only_pod(&pod("status: {podIP: 10.0.0.1}")).addresses, [ip("10.0.0.1")]);
    assert!(only_pod(&pod("status: {}")).addresses.is_empty());
}

#[test]
fn succeeded_and_failed_pods_are_finished() {
    for (phase, expected) in [
        ("Succeeded", Phase::Finished),
        ("Failed", Phase::Finished),
        ("Pending", Phase::Active),
        ("Running", Phase::Active),
        ("Unknown", Phase::Active),
    ] {
        assert_eq!(only_pod(&pod(&format!("status: {{phase: {phase}}}"))).phase, expected, "{phase}");
    }
}

#[test]
fn ports_are_those_of_containers_then_of_restartable_init_containers() {
    let text = pod("spec: {initContainers: [{name: once, ports: [{containerPort: 1}]}, \
         {name: sidecar, restartPolicy: Always, ports: [{containerPort: 2}]}], \
         containers: [{name: main, ports: [{containerPort: 3}]}], \
         ephemeralContainers: [{name: debug, ports: [{containerPort: 4}]}]}");
    assert_eq!(only_pod(&text).ports.iter().map(|port| port.number).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn bad_items_of_a_pod_are_named_and_left_out() {
    let text = pod("spec: {containers: [{name: a, ports: [{containerPort: 0}, {containerPort: 80, hostPort: 70000}, \
         {containerPort: 81, name: BAD}, {containerPort: 82, protocol: ICMP}]}]}, \
         status: {podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.256}, {ip: '::ffff:10.0.0.2'}, {ip: 010.0.0.1}]}");
    let left_out = |field: &str, message: &str| {
        format!("net.yaml, document 1: Pod default/p: {field}: {message}; this item is left out")
    };
    assert_eq!(
        problems(&text),
        [
            left_out("spec.containers[0].ports[0].containerPort", "0 is not a port: expected 1 to 65535"),
            left_out("spec.containers[0].ports[1].hostPort", "70000 is not a port: expected 1 to 65535"),
            left_out(
                "spec.containers[0].ports[2].name",
                "\"BAD\" is not a valid port name: expected at most 15 lower case letters, digits and single '-' between them, \
                 at least one letter"
            ),
            left_out("spec.containers[0].ports[3].protocol", "\"ICMP\" is not a protocol: expected TCP, UDP or SCTP"),
            left_out(
                "status.podIPs[1].ip",
                "\"10.0.0.256\" is not an IP address: expected one such as 10.9.8.7 or 2001:db8::7"
            ),
            left_out("status.podIPs[2].ip", "\"::ffff:10.0.0.2\" is an IPv4-mapped IPv6 address: write 10.0.0.2"),
            left_out(
                "status.podIPs[3].ip",
                "\"010.0.0.1\" is not an IP address: expected one such as 10.9.8.7 or 2001:db8::7, without leading zeros"
            ),
        ]
    );
    let pod = only_pod(&text);
    assert_eq!(pod.addresses, [ip("10.0.0.1")]);
    assert_eq!(
        pod.ports.iter().map(|port| (port.number, port.host_port, port.name.is_some())).collect::<Vec<_>>(),
        [(80, None, false), (81, None, false),]
    );
}

#[test]
fn typing_errors_in_a_pod_are_named() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: p, lables: {app: web}}, spec: {hostNetwrok: true}}";
    assert_eq!(
        problems(text),
        [
            "net.yaml, document 1: Pod default/p: metadata.lables: unknown field; the rest of the object counts",
            "net.yaml, document 1: Pod default/p: spec.hostNetwrok: unknown field; the rest of the object counts",
        ]
    );
}

#[test]
fn pod_without_a_name_is_left_out() {
    let loaded = parse("{apiVersion: v1, kind: Pod, metadata: {generateName: p-}, status: {podIP: x}}");
    assert!(loaded.cluster.pods.is_empty());
    assert!(loaded.problems.iter().all(|problem| problem.to_string().ends_with("; left out")), "{:?}", loaded.problems);
    assert_eq!(loaded.problems.len(), 2);
}

#[test]
fn illegal_labels_are_named_and_kept() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {a b: c, d: 'e f'}}}";
    assert_eq!(only_pod(text).labels, labels(&[("a b", "c"), ("d", "e f")]));
    assert_eq!(parse(text).problems.len(), 2);
}

#[test]
fn namespace_carries_its_name_as_a_label() {
    let name = "kubernetes.io/metadata.name";
    for (text, expected) in [
        ("labels: {env: prod}", labels(&[("env", "prod"), (name, "shop")])),
        ("labels: {kubernetes.io/metadata.name: other}", labels(&[(name, "shop")])),
        ("labels: ", labels(&[(name, "shop")])),
    ] {
        let loaded = sound(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, {text}}}}}"));
        let found: Vec<_> = loaded.cluster.namespaces.values().map(|namespace| Namespace::clone(namespace)).collect();
        assert_eq!(found, [Namespace { name: "shop".into(), labels: expected, audit: false }]);
    }
}

#[test]
fn namespace_that_no_file_defines_exists_with_its_name_label() {
    let loaded = sound("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}}");
    assert_eq!(
        *loaded.cluster.namespaces["shop"],
        Namespace { name: "shop".into(), labels: labels(&[("kubernetes.io/metadata.name", "shop")]), audit: false }
    );
}

#[test]
fn node_keeps_labels_addresses_and_pod_blocks() {
    let text = "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: a}}, spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, 'fd01::/64']}, \
                status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 192.0.2.1}, \
                {type: ExternalIP, address: 198.51.100.1}]}}";
    let expected = Node {
        name: "n1".into(),
        labels: Labels::from([("zone".into(), "a".into())]),
        addresses: vec![ip("192.0.2.1"), ip("198.51.100.1")],
        pod_cidrs: ["10.1.0.0/24", "fd01::/64"].map(|text| text.parse().expect("a block")).to_vec(),
    };
    assert_eq!(*sound(text).cluster.nodes["n1"], expected);
    let broken = parse(&text.replace("'fd01::/64'", "fd01"));
    assert_eq!(broken.cluster.nodes["n1"].pod_cidrs, expected.pod_cidrs[..1]);
    assert_eq!(
        broken.problems.iter().filter_map(|problem| problem.field.as_deref()).collect::<Vec<_>>(),
        ["spec.podCIDRs[1]"]
    );
}

#[test]
fn service_keeps_addresses_and_ports() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.1, \
                clusterIPs: [10.96.0.1, 'fd00::96'], externalIPs: [192.0.2.9], selector: {app: web}, \
                ports: [{name: http, port: 80, targetPort: web, nodePort: 30080}, {port: 53, protocol: UDP}, {port: 81, targetPort: 8081}]}, \
                status: {loadBalancer: {ingress: [{ip: 198.51.100.7}, {hostname: lb.example.com}]}}}";
    let port = |name: Option<&str>, protocol, port, target, node_port| ServicePort {
        name: name.map(Into::into),
        protocol,
        port,
        target,
        node_port,
    };
    let key = ObjectKey::new("shop", "web");
    let expected = Service {
        key: key.clone(),
        form: ServiceForm::Virtual,
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::96")],
        external_ips: vec![ip("192.0.2.9")],
        load_balancer_ips: vec![ip("198.51.100.7")],
        ports: vec![
            port(Some("http"), Protocol::Tcp, 80, TargetPort::Name("web".into()), Some(30080)),
            port(None, Protocol::Udp, 53, TargetPort::Number(53), None),
            port(None, Protocol::Tcp, 81, TargetPort::Number(8081), None),
        ],
        selector: labels(&[("app", "web")]),
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Local,
    };
    assert_eq!(*sound(text).cluster.services[&key], expected);
}

#[test]
fn traffic_policies_of_a_service_are_cluster_or_local() {
    let service = |spec: &str| {
        let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {spec}}}");
        let service = parse(&text).cluster.services[&ObjectKey::new("default", "s")].clone();
        ((service.internal, service.external), problems(&text))
    };
    assert_eq!(service("{}"), ((TrafficPolicy::Cluster, TrafficPolicy::Cluster), vec![]));
    let local = "{internalTrafficPolicy: Local, externalTrafficPolicy: Cluster}";
    assert_eq!(service(local), ((TrafficPolicy::Local, TrafficPolicy::Cluster), vec![]));
    assert_eq!(
        service("{internalTrafficPolicy: local}"),
        (
            (TrafficPolicy::Cluster, TrafficPolicy::Cluster),
            vec![
                "net.yaml, document 1: Service default/s: spec.internalTrafficPolicy: \"local\" is not a traffic policy: \
                 expected Cluster or Local; the rest of the object counts"
                    .to_owned()
            ]
        )
    );
}

#[test]
fn services_slices_and_nodes_go_with_their_deletion() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: s}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: n1}}\n---\n\
                {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: []}\n";
    let mut cluster = sound(text).cluster;
    let key = |name: &str| ObjectKey::new("default", name);
    assert_eq!((cluster.services.len(), cluster.nodes.len(), cluster.endpoint_slices.len()), (1, 1, 1));
    for gone in [ObjectRef::Service(key("s")), ObjectRef::Node("n1".into()), ObjectRef::EndpointSlice(key("e"))] {
        assert!(Change::Delete(gone.clone()).apply_to(&mut cluster), "{gone}");
        assert!(!Change::Delete(gone.clone()).apply_to(&mut cluster), "{gone}, again");
    }
    assert_eq!((cluster.services.len(), cluster.nodes.len(), cluster.endpoint_slices.len()), (0, 0, 0));
}

#[test]
fn headless_and_external_services_have_no_addresses() {
    for (spec, form) in [
        ("{clusterIP: None, clusterIPs: [None]}", ServiceForm::Headless),
        ("{type: ExternalName, externalName: example.com}", ServiceForm::ExternalName),
    ] {
        let loaded = sound(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {spec}}}"));
        let service = &loaded.cluster.services[&ObjectKey::new("default", "s")];
        assert_eq!((service.form, service.cluster_ips.len()), (form, 0), "{spec}");
    }
}

#[test]
fn services_and_slices_that_kube_proxy_leaves_out_are_known_by_their_labels() {
    let labelled = |label: &str| {
        let meta = format!("{{name: s, labels: {{kubernetes.io/service-name: s, {label}}}}}");
        let loaded = sound(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {meta}, spec: {{clusterIP: 10.96.0.1}}}}\n---\n\
             {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {meta}, addressType: IPv4, endpoints: []}}\n"
        ));
        let key = ObjectKey::new("default", "s");
        (loaded.cluster.services[&key].form, loaded.cluster.endpoint_slices[&key].left_out)
    };
    for label in ["service.kubernetes.io/service-proxy-name: mine", "service.kubernetes.io/headless: ''"] {
        assert_eq!(labelled(label), (ServiceForm::OtherProxy, true), "{label}");
    }
    for label in ["app: web", "service.kubernetes.io/service-proxy: mine"] {
        assert_eq!(labelled(label), (ServiceForm::Virtual, false), "{label}");
    }
}

#[test]
fn addresses_at_which_the_load_balancer_itself_is_reached_are_not_the_services() {
    let ingress =
        "[{ip: 192.0.2.1}, {ip: 192.0.2.2, ipMode: VIP}, {ip: 192.0.2.3, ipMode: Proxy}, {hostname: a.example}]";
    let loaded = sound(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: s}}, status: {{loadBalancer: {{ingress: {ingress}}}}}}}"
    ));
    let service = &loaded.cluster.services[&ObjectKey::new("default", "s")];
    assert_eq!(service.load_balancer_ips, [ip("192.0.2.1"), ip("192.0.2.2")]);
}

#[test]
fn endpoint_slice_keeps_its_endpoints() {
    let text = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: shop, \
                labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [\
                {addresses: [10.0.0.1], nodeName: n1, targetRef: {kind: Pod, name: web-a, namespace: shop}}, \
                {addresses: [10.0.0.2, 'fd00::2'], conditions: {ready: false, serving: true, terminating: true}}], \
                ports: [{name: http, port: 8080}, {protocol: UDP}]}";
    let key = ObjectKey::new("shop", "web-1");
    let expected = EndpointSlice {
        key: key.clone(),
        service: Some("web".into()),
        family: AddressFamily::Ipv4,
        endpoints: vec![
            Endpoint {
                addresses: vec![ip("10.0.0.1")],
                ready: true,
                serving: true,
                terminating: false,
                node: Some("n1".into()),
                target: Some(ObjectKey::new("shop", "web-a")),
            },
            Endpoint {
                addresses: vec![ip("10.0.0.2")],
                ready: false,
                serving: true,
                terminating: true,
                node: None,
                target: None,
            },
        ],
        ports: vec![
            EndpointPort { name: Some("http".into()), protocol: Protocol::Tcp, port: Some(8080) },
            EndpointPort { name: None, protocol: Protocol::Udp, port: None },
        ],
        left_out: false,
    };
    let loaded = parse(text);
    assert_eq!(*loaded.cluster.endpoint_slices[&key], expected);
    assert_eq!(
        problems(text),
        ["net.yaml, document 1: EndpointSlice shop/web-1: endpoints[1].addresses[1]: \
          fd00::2 is not of the slice's addressType: expected IPv4 addresses only; this item is left out"]
    );
}

#[test]
fn documents_that_are_no_objects_are_named_and_the_others_count() {
    let text = "- a\n---\nkind: Pod\nmetadata: {name: a}\n---\nmetadata: {}\n---\n# nothing\n---\n\
                {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\na: [\n---\n{apiVersion: apps/v1, kind: Deployment}\n";
    let loaded = parse(text);
    assert!(loaded.cluster.namespaces.contains_key("shop"));
    let said = problems(text);
    assert_eq!(
        said[..3],
        [
            "net.yaml, document 1: no Kubernetes object: expected a mapping with apiVersion, kind and metadata; left out",
            "net.yaml, document 2: Pod default/a: apiVersion: missing: expected v1; the rest of the object counts",
            "net.yaml, document 3: kind: missing: expected the object's kind, such as NetworkPolicy; left out",
        ]
    );
    assert!(said[3].starts_with("net.yaml, document 5: ") && said[3].contains("line 1"), "{}", said[3]);
    assert_eq!(said.len(), 4);
}

#[test]
fn json_is_read_like_yaml() {
    let text = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n\t\"metadata\":{\"name\":\"a\"}}\n\
                {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\",\"name\":\"c\"}} {\"kind\"";
    let loaded = manifests::parse(Path::new("pods.json"), text);
    assert_eq!(loaded.cluster.pods.keys().map(ToString::to_string).collect::<Vec<_>>(), ["default/a", "default/c"]);
    assert_eq!(
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "pods.json, document 2: Pod default/c: metadata.name: the key is given twice: keep one; the rest of the object counts",
            "pods.json, document 3: EOF while parsing an object at line 3 column 75; left out",
        ]
    );
}

#[test]
fn object_defined_twice_is_named_with_both_places() {
    let pod = |ip: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, status: {{podIP: {ip}}}}}");
    let text = format!("{}\n---\n{}\n", pod("10.0.0.1"), pod("10.0.0.2"));
    assert_eq!(
        problems(&text),
        [
            "net.yaml, document 2: Pod default/p: defined already in net.yaml, document 1, which counts: expected one definition; left out"
        ]
    );
    assert_eq!(only_pod(&text).addresses, [ip("10.0.0.1")]);
    sound(
        "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n",
    );
}
