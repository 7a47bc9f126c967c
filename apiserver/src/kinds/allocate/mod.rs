//! Cluster addresses and node ports of Services: who has which, and what a write takes or gives back.
//!
//! Promise: no two Services hold the same address or port. What a write takes is reserved before it is stored and
//! given back unless the write succeeds; what it gives up is free again only afterwards.
//! The state is rebuilt from the stored Services at start. Source: kubernetes `pkg/registry/core/service`.

mod pool;
mod range;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use component::random::Random;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Kind;
use super::read::{Read, default, items_mut};
use super::service::defaults::{needs_health_check, uses_node_ports};
use crate::field::{FieldError, Path};
use crate::object;
use crate::status::{ApiError, ApiResult};
use pool::{Pool, Refusal};

pub use range::{Cidr, CidrError};

const SPEC: Path<'static> = Path::root("spec");

/// What is taken in a cluster. Clones share it.
#[derive(Clone, Debug)]
pub struct Allocations {
    pools: Arc<Mutex<Pools>>,
    cidr: Cidr,
    random: Random,
}

#[derive(Debug)]
struct Pools {
    addresses: Pool,
    ports: Pool,
}

/// What a write has taken; given back unless the write succeeds.
#[derive(Debug)]
#[must_use = "dropping a claim gives back what it took"]
pub struct Claim {
    pools: Arc<Mutex<Pools>>,
    taken: Held,
    given_up: Held,
}

/// Addresses and ports of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    addresses: BTreeSet<u128>,
    ports: BTreeSet<u128>,
}

impl Allocations {
    /// Nothing taken yet.
    pub fn new(cidr: Cidr, node_ports: RangeInclusive<u16>, random: Random) -> Self {
        let (first, last) = cidr.usable();
        let addresses = Pool::new(first, last);
        let ports = Pool::new(u128::from(*node_ports.start()), u128::from(*node_ports.end()));
        Self { pools: Arc::new(Mutex::new(Pools { addresses, ports })), cidr, random }
    }

    /// The range addresses are taken from.
    pub fn cidr(&self) -> &Cidr {
        &self.cidr
    }

    /// Notes what a stored Service has. For the start, before any write.
    pub fn occupy(&self, service: &Value) {
        let held = self.held(service);
        let mut pools = self.pools.lock();
        for address in held.addresses {
            // A Service of another range keeps its address, nobody else can get it.
            let _ = pools.addresses.take(address);
        }
        for port in held.ports {
            let _ = pools.ports.take(port);
        }
    }

    /// Takes what a new Service needs and writes it into the object. Other kinds need nothing.
    pub fn claim_new(&self, kind: &Kind, object: &mut Value, dry_run: bool) -> ApiResult<Claim> {
        self.claim(kind, object, None, dry_run)
    }

    /// Takes what an updated Service needs beyond what it had.
    pub fn claim_update(
        &self,
        kind: &Kind,
        object: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> ApiResult<Claim> {
        self.claim(kind, object, Some(old), dry_run)
    }

    /// Gives back what a deleted Service had.
    pub fn release(&self, kind: &Kind, object: &Value) {
        if is_service(kind) {
            self.pools.lock().give_back(&self.held(object));
        }
    }

    fn claim(&self, kind: &Kind, object: &mut Value, old: Option<&Value>, dry_run: bool) -> ApiResult<Claim> {
        let mut claim =
            Claim { pools: self.pools.clone(), taken: Held::default(), given_up: Held::default() };
        if !is_service(kind) {
            return Ok(claim);
        }
        let before = old.map(|old| self.held(old)).unwrap_or_default();
        let result = self.fill(object, old, &before, &mut claim.taken);
        if let Err(error) = result {
            return Err(ApiError::invalid(&kind.group, &kind.kind, object::name(object), [error]));
        }
        let after = self.held(object);
        claim.given_up = before.without(&after);
        if dry_run {
            // A dry run shows what it would get, and keeps nothing: the claim gives it back when dropped.
            claim.given_up = Held::default();
        }
        Ok(claim)
    }

    /// Writes addresses, families and ports into the Service.
    fn fill(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        before: &Held,
        taken: &mut Held,
    ) -> Result<(), FieldError> {
        let spec = &mut service["spec"];
        if spec.text("type") != "ExternalName" {
            self.families(spec, old)?;
            self.address(spec, before, taken)?;
        }
        if uses_node_ports(spec) {
            self.node_ports(spec, before, taken)?;
        }
        if needs_health_check(spec) {
            self.health_check_port(spec, before, taken)?;
        }
        Ok(())
    }

    fn families(&self, spec: &mut Value, old: Option<&Value>) -> Result<(), FieldError> {
        let own = self.cidr.family();
        let selectorless = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
        let headless = spec.text("clusterIP") == "None";
        let fresh = old.is_none_or(|old| old["spec"].text("type") == "ExternalName");
        if headless
            && selectorless
            && fresh
            && !spec.has("ipFamilyPolicy")
            && spec.list("ipFamilies").is_empty()
        {
            // Nobody knows what its endpoints will be, so both families are possible.
            spec["ipFamilyPolicy"] = "RequireDualStack".into();
            let other = if own == "IPv4" { "IPv6" } else { "IPv4" };
            spec["ipFamilies"] = json!([own, other]);
            return Ok(());
        }
        default(spec, "ipFamilyPolicy", "SingleStack");
        let dual_is_fine = headless && selectorless;
        if spec.text("ipFamilyPolicy") == "RequireDualStack" && !dual_is_fine {
            let at = SPEC.child("ipFamilyPolicy");
            let why = "this cluster is not configured for dual-stack services";
            return Err(FieldError::invalid(at, "RequireDualStack", why));
        }
        let at = SPEC.child("ipFamilies");
        for (index, family) in spec.list("ipFamilies").iter().filter_map(Value::as_str).enumerate() {
            if family != own && !dual_is_fine {
                return Err(FieldError::invalid(at.index(index), family, "not configured on this cluster"));
            }
        }
        if spec.list("ipFamilies").is_empty() {
            spec["ipFamilies"] = json!([own]);
        }
        Ok(())
    }

    fn address(&self, spec: &mut Value, before: &Held, taken: &mut Held) -> Result<(), FieldError> {
        let wanted = spec.text("clusterIP").to_owned();
        if wanted == "None" {
            return Ok(());
        }
        let at = SPEC.child("clusterIPs");
        if wanted.is_empty() {
            let offset = self.pools.lock().addresses.take_any(|bound| self.random.below(bound));
            let Some(offset) = offset else {
                let why = "failed to allocate a serviceIP: range is full";
                return Err(FieldError::invalid(at, json!([]), why));
            };
            taken.addresses.insert(offset);
            let ip = self.cidr.address(offset).to_string();
            spec["clusterIPs"] = json!([ip]);
            spec["clusterIP"] = ip.into();
            return Ok(());
        }
        let Ok(ip) = wanted.parse::<IpAddr>() else { return Ok(()) }; // validation says what is wrong
        let number = self.cidr.number(ip);
        if before.addresses.contains(&number) || taken.addresses.contains(&number) {
            return Ok(());
        }
        let refuse = |why: String| {
            FieldError::invalid(at, spec["clusterIPs"].clone(), format!("failed to allocate IP {ip}: {why}"))
        };
        if !self.cidr.contains(ip) {
            let cidr = &self.cidr;
            let why =
                format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {cidr}");
            return Err(refuse(why));
        }
        match self.pools.lock().addresses.take(number) {
            Ok(()) => {
                taken.addresses.insert(number);
                Ok(())
            }
            Err(_) => Err(refuse("provided IP is already allocated".to_owned())),
        }
    }

    fn node_ports(&self, spec: &mut Value, before: &Held, taken: &mut Held) -> Result<(), FieldError> {
        let at = SPEC.child("ports");
        // The same port number for TCP and UDP shares a node port.
        let mut shared: Vec<(i64, i64)> = Vec::new();
        for (index, port) in items_mut(spec, "ports").enumerate() {
            let at = at.index(index);
            let number = port.int("port").unwrap_or_default();
            let mut node_port = port.int("nodePort").unwrap_or_default();
            if node_port == 0 {
                let known = shared.iter().find(|(of, _)| *of == number).map(|(_, node_port)| *node_port);
                node_port = match known {
                    Some(known) => known,
                    None => self.any_port(at.child("nodePort"), taken)?,
                };
                port["nodePort"] = node_port.into();
            } else {
                self.port(at.child("nodePort"), node_port, before, taken)?;
            }
            shared.push((number, node_port));
        }
        Ok(())
    }

    fn health_check_port(&self, spec: &mut Value, before: &Held, taken: &mut Held) -> Result<(), FieldError> {
        let at = SPEC.child("healthCheckNodePort");
        match spec.int("healthCheckNodePort").unwrap_or_default() {
            0 => spec["healthCheckNodePort"] = self.any_port(at, taken)?.into(),
            port => self.port(at, port, before, taken)?,
        }
        Ok(())
    }

    fn any_port(&self, at: Path<'_>, taken: &mut Held) -> Result<i64, FieldError> {
        let port = self.pools.lock().ports.take_any(|bound| self.random.below(bound));
        let Some(port) = port else {
            return Err(FieldError::invalid(at, 0, "failed to allocate a nodePort: range is full"));
        };
        taken.ports.insert(port);
        Ok(i64::try_from(port).unwrap_or_default())
    }

    fn port(&self, at: Path<'_>, port: i64, before: &Held, taken: &mut Held) -> Result<(), FieldError> {
        let number = u128::try_from(port).unwrap_or_default();
        if before.ports.contains(&number) || taken.ports.contains(&number) {
            return Ok(());
        }
        let mut pools = self.pools.lock();
        match pools.ports.take(number) {
            Ok(()) => {
                taken.ports.insert(number);
                Ok(())
            }
            Err(Refusal::Taken) => Err(FieldError::invalid(at, port, "provided port is already allocated")),
            Err(Refusal::OutOfRange) => {
                let (first, last) = pools.ports.bounds();
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                );
                Err(FieldError::invalid(at, port, why))
            }
        }
    }

    fn held(&self, service: &Value) -> Held {
        let spec = &service["spec"];
        let addresses = spec.list("clusterIPs").iter().filter_map(Value::as_str);
        let addresses = addresses.filter_map(|text| text.parse().ok()).map(|ip: IpAddr| self.cidr.number(ip));
        let ports = spec.list("ports").iter().filter_map(|port| port.int("nodePort"));
        let ports = ports.chain(spec.int("healthCheckNodePort")).filter(|port| *port > 0);
        Held {
            addresses: addresses.collect(),
            ports: ports.filter_map(|port| u128::try_from(port).ok()).collect(),
        }
    }
}

impl Claim {
    /// The write has succeeded.
    pub fn keep(mut self) {
        let given_up = std::mem::take(&mut self.given_up);
        self.taken = Held::default();
        self.pools.lock().give_back(&given_up);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pools.lock().give_back(&self.taken);
    }
}

impl Pools {
    fn give_back(&mut self, held: &Held) {
        held.addresses.iter().for_each(|address| self.addresses.give_back(*address));
        held.ports.iter().for_each(|port| self.ports.give_back(*port));
    }
}

impl Held {
    fn without(&self, other: &Self) -> Self {
        Self {
            addresses: self.addresses.difference(&other.addresses).copied().collect(),
            ports: self.ports.difference(&other.ports).copied().collect(),
        }
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "services"
}

/// The object that shows who has a cluster address.
pub fn ip_address(ip: IpAddr, namespace: &str, service: &str) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip.to_string(),
            "generation": 1,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn setting() -> (Allocations, Arc<Kind>) {
        let services = Kinds::builtin().resource("", "v1", "services").unwrap().clone();
        let random = Random::from_seed(1);
        (Allocations::new("10.96.0.0/24".parse().unwrap(), 30000..=30003, random), services)
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "default"}, "spec": spec})
    }

    fn message(result: ApiResult<Claim>) -> String {
        result.unwrap_err().message().to_owned()
    }

    #[test]
    fn a_claim_is_given_back_unless_kept() {
        let (all, kind) = setting();
        let asked =
            service(json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}));
        drop(all.claim_new(&kind, &mut asked.clone(), false).unwrap());
        all.claim_new(&kind, &mut asked.clone(), false).unwrap().keep();
        assert_eq!(
            message(all.claim_new(&kind, &mut asked.clone(), false)),
            "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP \
             10.96.0.9: provided IP is already allocated"
        );
        all.release(&kind, &asked);
        all.claim_new(&kind, &mut asked.clone(), false).unwrap().keep();
    }

    #[test]
    fn node_ports_run_out_and_are_shared_by_protocols() {
        let (all, kind) = setting();
        let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 80}]);
        let mut first = service(json!({"type": "NodePort", "ports": ports}));
        all.claim_new(&kind, &mut first, false).unwrap().keep();
        let port = |index: usize| first["spec"]["ports"][index]["nodePort"].clone();
        assert_eq!(port(0), port(1));
        assert_ne!(port(0), port(2));
        let three = json!([{"port": 1}, {"port": 2}, {"port": 3}]);
        let mut second = service(json!({"type": "NodePort", "ports": three}));
        assert!(message(all.claim_new(&kind, &mut second, false)).contains("range is full"));
        let mut low = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}));
        assert!(message(all.claim_new(&kind, &mut low, false)).ends_with(
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid \
             ports is 30000-30003"
        ));
    }

    #[test]
    fn an_update_gives_up_what_it_no_longer_names() {
        let (all, kind) = setting();
        let mut old = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        all.claim_new(&kind, &mut old, false).unwrap().keep();
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        new["spec"]["ports"] = json!([{"port": 80}]);
        all.claim_update(&kind, &mut new, &old, true).unwrap().keep();
        assert!(all.claim_new(&kind, &mut service(old["spec"].clone()), true).is_err());
        all.claim_update(&kind, &mut new, &old, false).unwrap().keep();
        assert_eq!(new["spec"]["clusterIP"], old["spec"]["clusterIP"]);
        let mut other = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}));
        all.claim_new(&kind, &mut other, false).unwrap().keep();
    }

    #[test]
    fn a_headless_service_without_selector_may_be_of_any_family() {
        let (all, kind) = setting();
        let mut headless = service(json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}));
        all.claim_new(&kind, &mut headless, false).unwrap().keep();
        assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let mut dual = service(json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}));
        assert!(message(all.claim_new(&kind, &mut dual, false)).contains("not configured for dual-stack"));
    }
}
