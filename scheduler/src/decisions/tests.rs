//! The record as a whole: what it keeps of each decision, and that details stay within their means.

use super::*;
use crate::cycle;
use crate::plugins;
use crate::plugins::fixtures::{cluster, node, requesting};
use component::random::Random;
use serde_json::json;

fn history(attempts: u32) -> History {
    History {
        attempts,
        ready_since: Some(Timestamp::UNIX_EPOCH),
        last_attempt: Timestamp::UNIX_EPOCH,
        flushed: false,
    }
}

fn profile() -> Profile {
    Profile::new("default-scheduler", plugins::defaults())
}

fn room(cpu: &str) -> serde_json::Value {
    json!({"status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

#[test]
fn keeps_the_facts_of_each_decision() {
    let (profile, now) = (profile(), Timestamp::from_second(10).unwrap());
    let cluster = cluster([node("a", room("4")), node("b", room("2"))]);
    let (fits, not) = (requesting("fits", json!({"cpu": "1"})), requesting("not", json!({"cpu": "3"})));
    let mut decisions = Decisions::default();

    let placed = cycle::place(&fits, &profile, &cluster, &Random::from_seed(1)).unwrap();
    decisions.placed(&fits, history(2), &placed, (&profile, &cluster), now);
    let [decision] = &*decisions.of(&fits.uid) else { panic!("one decision") };
    assert_eq!((&*decision.pod, decision.attempt, decision.at), ("default/fits", 2, now));
    let Outcome::Placed { node, feasible, ranking: Some(ranking) } = &decision.outcome else {
        panic!("{decision:?}")
    };
    assert_eq!((&**node, *feasible), (&*ranking.nodes[0].node, 2));

    let big = requesting("big", json!({"cpu": "5"}));
    let failure = cycle::place(&big, &profile, &cluster, &Random::from_seed(1)).unwrap_err();
    let room = (placed.node.clone(), vec![not.clone()]);
    decisions.refused(&big, history(1), &failure, "text", Some((&room.0, &room.1)), now);
    decisions.not_bound(&not, "no", now);
    let [decision] = &*decisions.of(&big.uid) else { panic!("one decision") };
    let Outcome::Refused { nodes: 2, counts, text, room: Some(room) } = &decision.outcome else {
        panic!("{decision:?}")
    };
    assert_eq!((&**text, &*counts[0].reason, counts[0].nodes), ("text", "Insufficient cpu", 2));
    assert_eq!((&*room.0, &*room.1[0]), (&*placed.node, "default/not"));

    let listed = |namespace| -> Vec<Box<str>> {
        decisions.last(namespace, 2).into_iter().map(|decision| decision.pod).collect()
    };
    assert_eq!(listed(None), ["default/not".into(), "default/big".into()], "the newest first");
    assert_eq!(listed(Some("def")), []);
    assert_eq!(listed(Some("default")).len(), 2);
}

#[test]
fn details_stay_within_their_means() {
    let mut decisions = Decisions::default();
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let nodes: Vec<_> = (0..100).map(|number| node(&format!("n{number}"), room("4"))).collect();
    let hundred: [_; 100] = nodes.try_into().unwrap();
    let hundred = cluster(hundred);
    // 100 nodes x 16 plugins are 1,600 steps: 125 times a second.
    let count =
        |decisions: &mut Decisions, now| (0..1000).filter(|_| decisions.affords(&hundred, now)).count();
    assert_eq!(count(&mut decisions, at(0)), 125);
    assert_eq!(count(&mut decisions, at(0)), 0);
    assert_eq!(count(&mut decisions, at(1)), 125);
    assert_eq!(count(&mut decisions, at(100)), 125, "what was not used is not saved up");
}

#[tokio::test]
async fn only_a_running_scheduler_answers() {
    let desk = Desk::default();
    assert_eq!(desk.last("").await.unwrap_err(), Unanswered::NotLeading);
    let mut questions = desk.sit().await;
    let answer = async {
        let asked = questions.recv().await.unwrap();
        assert_eq!((&*asked.namespace, asked.name.as_deref()), ("default", Some("p")));
        asked.answer.send(Look::default()).unwrap();
    };
    let (look, ()) = tokio::join!(desk.pod("default", "p"), answer);
    assert!(look.unwrap().pod.is_none());
}
