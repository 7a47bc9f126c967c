//! The table against IPVS, inside a user-mode kernel.
//!
//! Promise: the same table, the same network, the same questions as for nf_tables; so who passes both answers the
//! same on both. Endpoints that go are given no time here, so that a case sees nothing of the one before.

use std::time::Duration;

use component::clock::Clock;
use node_agent::proxy::Backend;
use node_agent::proxy::ipvs::{Ipvs, Options, ReachMode};

use harness::uml;

use crate::network::Network;
use crate::table;

#[test]
fn ipvs_answers_as_the_table_says() {
    uml::in_guest("ipvs::ipvs_answers_as_the_table_says", || {
        run(Options { grace: Duration::ZERO, ..Options::default() })
    });
}

#[test]
fn ipvs_answers_the_same_with_addresses_on_a_device() {
    uml::in_guest("ipvs::ipvs_answers_the_same_with_addresses_on_a_device", || {
        run(Options { reach: ReachMode::Device, grace: Duration::ZERO, ..Options::default() });
    });
}

fn run(options: Options) {
    let network = Network::start();
    let mut backend = network.within("node", || Ipvs::new(options, Clock::start()).unwrap());
    let wrong = network.within("node", || table::run(&network, &mut backend));
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    network.within("node", || backend.cleanup()).unwrap();
}
