//! What goes wrong between the proxy and the kernel: nothing that was in force is lost, and the next sync repairs it.

use std::sync::Arc;

use component::informers::Key;
use nix::libc;
use node_agent::proxy::model::{Changes, DataPlane, EndpointSlice, Service, plan_service};
use node_agent::proxy::{Backend, Nftables, SyncError};
use serde_json::json;

use crate::cases::settings;
use crate::namespace::{in_new_namespace, nft, ruleset};
use crate::table::node;

/// Gives service `s` a cluster IP and one endpoint.
fn set(plane: &mut DataPlane, name: &str, ip: &str, changes: &mut Changes) {
    let service: Service = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]}}))
    .unwrap();
    let slice: EndpointSlice = serde_json::from_value(json!({"metadata": {"name": name}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.11"], "nodeName": "node"}], "ports": [{"name": "", "port": 8080}]}))
    .unwrap();
    let plan = plan_service(&service, &[Arc::new(slice)], &node(), &plane.settings);
    plane.set(&Key::new("default", name), plan, changes);
}

/// A plane with service `a` in force.
fn started() -> (Nftables, DataPlane) {
    let (mut backend, mut plane) = (Nftables::open().unwrap(), DataPlane::new(settings()));
    set(&mut plane, "a", "10.96.0.1", &mut Changes::default());
    backend.sync(&plane, &Changes::everything()).unwrap();
    (backend, plane)
}

#[test]
fn an_error_in_the_middle_of_a_batch_changes_nothing_and_the_next_sync_repairs() {
    in_new_namespace(|| {
        let (mut backend, mut plane) = started();
        assert!(!backend.is_disturbed().unwrap());
        // Somebody takes an element away; deleting it with its service is refused, and so is all of that batch.
        nft("delete element ip steersman-proxy services { 10.96.0.1 . tcp . 80 }");
        assert!(backend.is_disturbed().unwrap());
        let mut changes = Changes::default();
        plane.set(&Key::new("default", "a"), Default::default(), &mut changes);
        set(&mut plane, "b", "10.96.0.2", &mut changes);
        let error = backend.sync(&plane, &changes).unwrap_err();
        assert_eq!(error.to_string(), "the kernel refuses to delete elements of services");
        let shown = ruleset();
        assert!(shown.contains("10.96.0.1") && !shown.contains("10.96.0.2"), "{shown}");

        backend.sync(&plane, &Changes::default()).unwrap();
        let shown = ruleset();
        assert!(!shown.contains("10.96.0.1") && shown.contains("10.96.0.2 . tcp . 80"), "{shown}");
        assert!(!backend.is_disturbed().unwrap());
    });
}

#[test]
fn what_others_flush_or_change_is_noticed_and_put_back() {
    in_new_namespace(|| {
        let (mut backend, plane) = started();
        let right = ruleset();
        for disturbance in [
            "flush ruleset",
            "flush chain ip steersman-proxy nat-prerouting",
            "add rule ip steersman-proxy nat-output counter",
            "delete table ip6 steersman-proxy",
            "add element ip steersman-proxy cluster-addresses { 10.0.0.1 }",
            "add set ip steersman-proxy strange { type ipv4_addr; }",
            "add chain ip steersman-proxy strange",
        ] {
            nft(disturbance);
            assert!(backend.is_disturbed().unwrap(), "{disturbance}");
            backend.sync(&plane, &Changes::everything()).unwrap();
            assert_eq!(sorted(&ruleset()), sorted(&right), "{disturbance}");
            assert!(!backend.is_disturbed().unwrap(), "{disturbance}");
        }
        // Rules of others are none of ours.
        nft("add table ip other");
        backend.sync(&plane, &Changes::everything()).unwrap();
        backend.cleanup().unwrap();
        assert_eq!(ruleset().trim(), "table ip other {\n}");
    });
}

#[test]
fn a_table_of_another_layout_is_replaced_at_once() {
    in_new_namespace(|| {
        nft("add table ip steersman-proxy { comment \"steersman proxy layout 0\"; }");
        nft("add map ip steersman-proxy services { type ipv4_addr : verdict; }");
        drop(started());
        let shown = ruleset();
        assert!(shown.contains("10.96.0.1 . tcp . 80 : goto cluster-to-1"), "{shown}");
        assert!(!shown.contains("layout 0"), "{shown}");
    });
}

#[test]
fn without_permission_it_says_so_and_leaves_the_rules_alone() {
    in_new_namespace(|| {
        let (mut backend, mut plane) = started();
        let right = ruleset();
        std::thread::scope(|scope| {
            let plane = &mut plane;
            let backend = &mut backend;
            let powerless = move || {
                give_up_capabilities();
                assert!(matches!(Nftables::open(), Err(SyncError::Permission)));
                let mut changes = Changes::default();
                set(plane, "b", "10.96.0.2", &mut changes);
                assert!(matches!(backend.sync(plane, &changes), Err(SyncError::Permission)));
            };
            scope.spawn(powerless).join().unwrap();
        });
        assert_eq!(ruleset(), right);
        backend.sync(&plane, &Changes::default()).unwrap();
        assert!(ruleset().contains("10.96.0.2"));
    });
}

/// Takes every capability from the calling thread.
pub(crate) fn give_up_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0_u32; 6];
    #[expect(unsafe_code, reason = "capset is per thread and nix does not have it")]
    // SAFETY: both arrays have the layout and length that version 3 of the call reads.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "a thread may give up what it has");
}

fn sorted(shown: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}
