//! The slim view of a Pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, PodCondition, PodIP, PodReadinessGate, PodSchedulingGate, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use super::{list, nullable};
use crate::amounts::Amounts;

/// A Pod as the scheduler, the controllers and the endpoint slices read it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name, labels, owners and so on; without `managedFields`.
    #[serde(deserialize_with = "super::metadata")]
    pub metadata: ObjectMeta,

    /// What is to run, and where it may.
    #[serde(deserialize_with = "nullable")]
    pub spec: PodSpec,

    /// What runs.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatus,
}

/// The read part of a Pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it is bound to.
    pub node_name: Option<String>,

    /// Which scheduler is to place it.
    pub scheduler_name: Option<String>,

    /// Labels that the node must have.
    #[serde(deserialize_with = "nullable")]
    pub node_selector: BTreeMap<String, String>,

    /// Node and pod (anti-)affinity.
    pub affinity: Option<Box<Affinity>>,

    /// Taints it tolerates.
    #[serde(deserialize_with = "list")]
    pub tolerations: Vec<Toleration>,

    /// How it is to be spread.
    #[serde(deserialize_with = "list")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// What must be removed before it is scheduled.
    #[serde(deserialize_with = "list")]
    pub scheduling_gates: Vec<PodSchedulingGate>,

    /// Conditions that must be true, besides its containers, for it to be ready.
    #[serde(deserialize_with = "list")]
    pub readiness_gates: Vec<PodReadinessGate>,

    /// The main containers.
    #[serde(deserialize_with = "list")]
    pub containers: Vec<Container>,

    /// The init containers, sidecars among them.
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<Container>,

    /// What the sandbox costs besides the containers.
    #[serde(deserialize_with = "nullable")]
    pub overhead: Amounts,

    /// What the whole pod asks for (KEP-2837).
    #[serde(deserialize_with = "nullable")]
    pub resources: Requests,

    /// Scheduling priority, resolved from its class by admission.
    pub priority: Option<i32>,

    /// `Never` forbids that others are evicted for it.
    pub preemption_policy: Option<String>,

    /// Whether it shares the node's network; its ports are then the node's.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,

    /// False: it runs in a user namespace of its own.
    pub host_users: Option<bool>,

    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: Option<String>,

    /// Seconds between the stop signal and the kill.
    pub termination_grace_period_seconds: Option<i64>,

    /// The account it runs as.
    pub service_account_name: Option<String>,

    /// Host name, if it is not the pod's name; endpoint slices publish it.
    pub hostname: Option<String>,

    /// The headless service whose domain it lives in.
    pub subdomain: Option<String>,

    /// Volumes, with the claims among them named.
    #[serde(deserialize_with = "list")]
    pub volumes: Vec<Volume>,

    /// The group it is to be scheduled with.
    pub scheduling_group: Option<SchedulingGroup>,

    /// Devices it claims.
    #[serde(deserialize_with = "list")]
    pub resource_claims: Vec<ResourceClaimSource>,
}

/// The group of pods that a pod is scheduled with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SchedulingGroup {
    /// A `PodGroup` of the pod's namespace.
    pub pod_group_name: Option<String>,
}

/// A claim for devices; one of the names is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceClaimSource {
    /// Unique in the pod.
    pub name: String,

    /// A `ResourceClaim` that is there.
    pub resource_claim_name: Option<String>,

    /// What one is made from for the pod; its name is then in the status.
    pub resource_claim_template_name: Option<String>,
}

/// The claim that was made for a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceClaimStatus {
    /// The name in the spec.
    pub name: String,

    /// The `ResourceClaim`; absent if none is needed.
    pub resource_claim_name: Option<String>,
}

/// The claim that a scheduler has made for the extended resources of a pod (KEP-5004).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtendedResourceClaimStatus {
    /// The `ResourceClaim`.
    pub resource_claim_name: String,
}

/// The read part of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Unique in the pod.
    pub name: String,

    /// The image reference, for image locality.
    pub image: Option<String>,

    /// Ports it listens on.
    #[serde(deserialize_with = "list")]
    pub ports: Vec<Port>,

    /// What it asks for.
    #[serde(deserialize_with = "nullable")]
    pub resources: Requests,

    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,

    /// What follows from the ways in which it ends.
    #[serde(deserialize_with = "list")]
    pub restart_policy_rules: Vec<RestartRule>,
}

/// What follows when a container ends in a certain way (KEP-5307).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RestartRule {
    /// `Restart` or `RestartAllContainers`.
    pub action: String,
}

/// A container port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// The name services may refer to.
    pub name: Option<String>,

    /// 1 to 65535.
    pub container_port: i32,

    /// The port taken on the node; 0 for none.
    #[serde(deserialize_with = "nullable")]
    pub host_port: i32,

    /// The node address it is taken on; empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,

    /// `TCP` (also if absent), `UDP` or `SCTP`.
    pub protocol: Option<String>,
}

/// Requests and limits by resource name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// What must be free.
    #[serde(deserialize_with = "nullable")]
    pub requests: Amounts,

    /// What it may have at most.
    #[serde(deserialize_with = "nullable")]
    pub limits: Amounts,
}

/// The read part of a volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", from = "WireVolume")]
pub struct Volume {
    /// Unique in the pod.
    pub name: String,

    /// The claim it mounts, if it is one.
    pub claim: Option<String>,

    /// Whether a claim of its own is made for it (named pod-volume).
    pub ephemeral: bool,

    /// The disk it mounts, if it is one that not every pod may share.
    pub disk: Option<Box<Disk>>,
}

/// A disk that conflicts with other uses of itself. The newer kinds of disks are behind claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A GCE persistent disk.
    GcePersistentDisk {
        /// Its name.
        pd_name: String,
        /// Mounted for reading only.
        read_only: bool,
    },

    /// An AWS disk.
    AwsElasticBlockStore {
        /// Its ID.
        volume_id: String,
    },

    /// A disk behind iSCSI.
    Iscsi {
        /// The qualified name.
        iqn: String,
        /// Mounted for reading only.
        read_only: bool,
    },

    /// A Ceph block device.
    Rbd {
        /// Where the cluster is.
        monitors: Vec<String>,
        /// The image.
        image: String,
        /// The pool.
        pool: String,
        /// Mounted for reading only.
        read_only: bool,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireVolume {
    name: String,
    persistent_volume_claim: Option<WireClaim>,
    ephemeral: Option<serde::de::IgnoredAny>,
    gce_persistent_disk: Option<WireDisk>,
    aws_elastic_block_store: Option<WireDisk>,
    iscsi: Option<WireDisk>,
    rbd: Option<WireDisk>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireDisk {
    pd_name: String,
    #[serde(rename = "volumeID")]
    volume_id: String,
    iqn: String,
    monitors: Vec<String>,
    image: String,
    pool: Option<String>,
    read_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireClaim {
    claim_name: String,
}

impl From<WireVolume> for Volume {
    fn from(wire: WireVolume) -> Self {
        let claim = wire.persistent_volume_claim.map(|claim| claim.claim_name);
        let gce =
            |disk: WireDisk| Disk::GcePersistentDisk { pd_name: disk.pd_name, read_only: disk.read_only };
        let aws = |disk: WireDisk| Disk::AwsElasticBlockStore { volume_id: disk.volume_id };
        let iscsi = |disk: WireDisk| Disk::Iscsi { iqn: disk.iqn, read_only: disk.read_only };
        let rbd = |WireDisk { monitors, image, pool, read_only, .. }: WireDisk| {
            let pool = pool.unwrap_or_else(|| "rbd".to_owned());
            Disk::Rbd { monitors, image, pool, read_only }
        };
        let disk = (wire.gce_persistent_disk.map(gce))
            .or_else(|| wire.aws_elastic_block_store.map(aws))
            .or_else(|| wire.iscsi.map(iscsi))
            .or_else(|| wire.rbd.map(rbd));
        Self { name: wire.name, claim, ephemeral: wire.ephemeral.is_some(), disk: disk.map(Box::new) }
    }
}

/// The read part of a Pod's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,

    /// Why it is in that phase, e.g. `Evicted`.
    pub reason: Option<String>,

    /// `Ready`, `PodScheduled` and so on.
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<PodCondition>,

    /// The first address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,

    /// All addresses, one an address family.
    #[serde(rename = "podIPs", deserialize_with = "list")]
    pub pod_ips: Vec<PodIP>,

    /// The node's address.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,

    /// The node that pods are evicted from for it.
    pub nominated_node_name: Option<String>,

    /// When the agent saw it first.
    pub start_time: Option<Time>,

    /// State of the main containers.
    #[serde(deserialize_with = "list")]
    pub container_statuses: Vec<ContainerStatus>,

    /// State of the init containers.
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Vec<ContainerStatus>,

    /// Claims that were made for it.
    #[serde(deserialize_with = "list")]
    pub resource_claim_statuses: Vec<ResourceClaimStatus>,

    /// The claim that was made for the extended resources it asks for.
    pub extended_resource_claim_status: Option<ExtendedResourceClaimStatus>,
}

/// The read part of a container's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,

    /// Whether its readiness probe passes.
    pub ready: bool,

    /// How often it was started again.
    pub restart_count: i32,

    /// What it does now.
    #[serde(deserialize_with = "nullable")]
    pub state: ContainerState,

    /// What the node has set aside for it; differs from the spec while it is resized.
    #[serde(deserialize_with = "nullable")]
    pub allocated_resources: Amounts,

    /// What it has; absent on old nodes.
    pub resources: Option<Requests>,
}

/// A container's state; at most one field is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerState {
    /// Not started.
    pub waiting: Option<Waiting>,

    /// Started.
    pub running: Option<RunningSince>,

    /// Ended.
    pub terminated: Option<Terminated>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Waiting {
    /// E.g. `CrashLoopBackOff`.
    pub reason: Option<String>,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningSince {
    /// When it was started.
    pub started_at: Option<Time>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// 0 for success.
    pub exit_code: i32,

    /// E.g. `OOMKilled`.
    pub reason: Option<String>,

    /// When it ended.
    pub finished_at: Option<Time>,
}

impl Pod {
    /// The pod's name, "" before it has one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod's UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The node it is bound to, if it is.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|name| !name.is_empty())
    }
}

crate::view_of!(Pod, "Pod", "v1", "pods", NamespaceResourceScope);

/// The same view of a full pod, through its JSON; for single pods, not for lists.
impl From<&k8s_openapi::api::core::v1::Pod> for Pod {
    fn from(full: &k8s_openapi::api::core::v1::Pod) -> Self {
        let value = serde_json::to_value(full).expect("a typed pod has a JSON form");
        serde_json::from_value(value).expect("a typed pod decodes as its view")
    }
}

/// The view of a full pod spec, e.g. of a template; for single specs, not for lists.
impl From<&k8s_openapi::api::core::v1::PodSpec> for PodSpec {
    fn from(full: &k8s_openapi::api::core::v1::PodSpec) -> Self {
        let value = serde_json::to_value(full).expect("a typed pod spec has a JSON form");
        serde_json::from_value(value).expect("a typed pod spec decodes as its view")
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1 as full;
    use serde_json::json;

    use super::*;

    fn sample() -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-1", "namespace": "default", "uid": "u1", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "web"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"},
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r1",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "nodeName": "n1", "schedulerName": "default-scheduler", "priority": 5, "hostNetwork": true,
                "containers": [{
                    "name": "c", "image": "nginx", "env": [{"name": "A", "value": "b"}],
                    "ports": [{"name": "http", "containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": 1}},
                    "livenessProbe": {"httpGet": {"port": "http"}},
                }],
                "initContainers": null,
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                ],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}}},
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}], "hostIP": "192.168.0.1",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "image": "nginx", "imageID": "",
                    "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}, "lastState": {}}],
            },
        })
    }

    #[test]
    fn the_view_and_the_full_type_agree() {
        let view: Pod = serde_json::from_value(sample()).unwrap();
        let full: full::Pod = serde_json::from_value(sample()).unwrap();
        assert_eq!(Pod::from(&full), view);
        assert_eq!(PodSpec::from(full.spec.as_ref().unwrap()), view.spec);

        assert_eq!((view.name(), view.namespace(), view.uid()), ("web-1", "default", "u1"));
        assert_eq!(view.node_name(), Some("n1"));
        assert_eq!(view.metadata.labels, full.metadata.labels);
        assert_eq!(view.metadata.owner_references, full.metadata.owner_references);
        assert_eq!(view.metadata.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(view.spec.containers[0].resources.requests.get("cpu").unwrap().milli_value(), 100);
        assert_eq!(view.spec.containers[0].ports[0].host_port, 80);
        assert_eq!(view.spec.volumes[0].claim.as_deref(), Some("claim"));
        assert!(view.spec.volumes[2].ephemeral && !view.spec.volumes[1].ephemeral);
        assert_eq!(view.status.container_statuses[0].restart_count, 2);
        assert!(view.status.container_statuses[0].state.running.is_some());
        assert_eq!(view.status.conditions, full.status.unwrap().conditions.unwrap());
    }

    #[test]
    fn the_view_is_slim() {
        assert!(size_of::<PodSpec>() < size_of::<full::PodSpec>());
        let empty: Pod =
            serde_json::from_value(json!({"metadata": {}, "spec": null, "status": null})).unwrap();
        assert_eq!(empty, Pod::default());
    }
}
