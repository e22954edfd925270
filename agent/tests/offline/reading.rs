//! Files that are newer than podgate, or name what kube-proxy does not serve.

use crate::support::{directory, podgate, result, stderr};

const TWO_PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, fieldToCome: {a: 1}, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, statusToCome: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: cli, namespace: shop, labels: {app: cli}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.0.2}
";

#[test]
fn fields_to_come_are_warnings_beside_the_result() {
    let shop = directory(&[("state.yaml", TWO_PODS)]);
    for command in [
        &["matrix", "-f", "state.yaml"][..],
        &["explain", "-f", "state.yaml", "--from", "shop/cli", "--to", "shop/web", "--port", "80"],
        &["diff", "-f", "state.yaml", "-f", "state.yaml"],
        &["report", "-f", "state.yaml", "-o", "report.html"],
        &["check", "-f", "state.yaml"],
    ] {
        let output = podgate(shop.path(), command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let expected = "warning: state.yaml, document 1: Pod shop/web: spec.fieldToCome: unknown field\n\
                        warning: state.yaml, document 1: Pod shop/web: status.statusToCome: unknown field\n";
        match command[0] {
            "report" => {}
            "check" => {
                let found = "note passed-over: Pod shop/web: spec.fieldToCome\n";
                assert!(result(&output).1.starts_with(found), "{output:?}");
            }
            _ => assert!(stderr(&output).starts_with(expected), "{output:?}"),
        }
    }
}

/// A Service of `shop` with this metadata beside its name, and this status of its load balancer.
fn service(metadata: &str, spec: &str, ingress: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop, {metadata}}}\n\
         spec: {{type: LoadBalancer, clusterIP: 10.96.0.9, selector: {{app: web}}, ports: [{{port: 443, targetPort: 80}}], {spec}}}\n\
         status: {{loadBalancer: {{ingress: [{ingress}]}}}}\n"
    )
}

#[test]
fn what_kube_proxy_does_not_serve_is_judged_as_the_address_it_is() {
    let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: cli, namespace: shop}\n\
                  spec: {podSelector: {matchLabels: {app: cli}}, policyTypes: [Egress], \
                  egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}\n";
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n";
    for (metadata, spec, ingress, to, status) in [
        ("", "", "{ip: 203.0.113.50}", "203.0.113.50", 0),
        ("", "", "{ip: 203.0.113.50, ipMode: VIP}", "203.0.113.50", 0),
        ("", "", "{ip: 203.0.113.50, ipMode: Proxy}", "203.0.113.50", 1),
        ("", "", "{ip: 203.0.113.50, ipMode: Proxy}", "10.96.0.9", 0),
        ("", "externalIPs: [203.0.113.50]", "{ip: 203.0.113.50, ipMode: Proxy}", "203.0.113.50", 0),
        ("labels: {service.kubernetes.io/service-proxy-name: other}", "", "{ip: 203.0.113.50}", "203.0.113.50", 1),
        (
            "labels: {service.kubernetes.io/service-proxy-name: other}",
            "externalIPs: [203.0.113.9]",
            "",
            "203.0.113.9",
            1,
        ),
        ("labels: {service.kubernetes.io/headless: ''}", "", "", "10.96.0.9", 1),
    ] {
        let text = format!("{TWO_PODS}{node}{policy}{}", service(metadata, spec, ingress));
        let shop = directory(&[("state.yaml", &text)]);
        let output =
            podgate(shop.path(), &["explain", "-f", "state.yaml", "--from", "shop/cli", "--to", to, "--port", "443"]);
        assert_eq!(output.status.code(), Some(status), "{metadata} {spec} {ingress} {to}: {output:?}");
    }
}
