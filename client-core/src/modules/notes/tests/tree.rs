//! Notebooks: order, moves, deletion, and the cycle rule when two devices move at once.

use proptest::prelude::*;

use super::super::tree::{self, Tree};
use super::*;
use crate::registry::NOTE_TREE_GENESIS;

fn id(n: usize) -> String {
    format!("{n:032x}")
}

fn parent_of(devices: &Devices, device: usize, n: usize) -> Option<String> {
    Tree::read(devices.documents[device].read()).nodes[&id(n)].parent.clone()
}

fn with_notebooks(count: usize, devices: u8) -> Devices {
    let mut devices = Devices::new(NOTE_TREE_GENESIS, devices);
    for n in 0..count {
        devices.edit(0, |doc, _| tree::create(doc, &id(n), &format!("N{n}"), None));
    }
    devices.meet();
    devices
}

fn names(devices: &Devices, parent: Option<usize>) -> Vec<String> {
    let tree = Tree::read(devices.documents[0].read());
    let parent = parent.map(id);
    tree.children(parent.as_deref()).into_iter().map(|(_, node)| node.name.clone()).collect()
}

#[test]
fn notebooks_stand_in_the_order_they_were_put() {
    let mut devices = with_notebooks(4, 1);
    assert_eq!(names(&devices, None), ["N0", "N1", "N2", "N3"]);
    devices.edit(0, |doc, _| tree::move_to(doc, &id(3), None, Some(&id(0))));
    devices.edit(0, |doc, _| tree::move_to(doc, &id(2), None, None));
    assert_eq!(names(&devices, None), ["N2", "N0", "N3", "N1"]);
    devices.edit(0, |doc, _| tree::move_to(doc, &id(1), Some(&id(2)), None));
    devices.edit(0, |doc, _| tree::create(doc, &id(9), " New ", Some(&id(2))));
    devices.edit(0, |doc, _| tree::rename(doc, &id(1), "Old"));
    assert_eq!(
        (names(&devices, None), names(&devices, Some(2))),
        (vec!["N2".into(), "N0".into(), "N3".into()], vec!["Old".into(), "New".into()])
    );
}

#[test]
fn what_cannot_be_is_refused_here() {
    let mut devices = with_notebooks(3, 1);
    devices.edit(0, |doc, _| tree::move_to(doc, &id(1), Some(&id(0)), None));
    let mut refused = |edit: &dyn Fn(&mut AutoCommit) -> Result<(), DocumentError>| {
        assert!(devices.try_edit(0, |doc, _| edit(doc)).is_err());
    };
    refused(&|doc| tree::move_to(doc, &id(0), Some(&id(1)), None));
    refused(&|doc| tree::move_to(doc, &id(0), Some(&id(0)), None));
    refused(&|doc| tree::move_to(doc, &id(0), Some(&id(8)), None));
    refused(&|doc| tree::move_to(doc, &id(0), None, Some(&id(1))));
    refused(&|doc| tree::create(doc, &id(0), "again", None));
    refused(&|doc| tree::create(doc, "short", "x", None));
    refused(&|doc| tree::create(doc, &id(7), " ", None));
    refused(&|doc| tree::rename(doc, &id(8), "x"));
}

#[test]
fn two_notebooks_moved_into_each_other_keep_both() {
    let mut devices = with_notebooks(2, 2);
    devices.edit(0, |doc, _| tree::move_to(doc, &id(0), Some(&id(1)), None));
    devices.edit(1, |doc, _| tree::move_to(doc, &id(1), Some(&id(0)), None));
    devices.meet();
    let tree = Tree::read(devices.documents[0].read());
    let recovered: Vec<_> = tree.nodes.values().filter(|node| node.recovered).collect();
    assert_eq!((recovered.len(), tree.children(None).len()), (1, 1));
}

#[test]
fn the_write_with_the_larger_operation_id_gives_way() {
    let devices = with_notebooks(2, 2);
    // Equal counters, so the actor decides: device 1 is the larger, and the order of ids must not matter.
    for (node, other) in [(0, 1), (1, 0)] {
        let mut devices = Devices { documents: devices.documents.clone(), now_ms: devices.now_ms };
        devices.edit(1, |doc, _| tree::move_to(doc, &id(node), Some(&id(other)), None));
        devices.edit(0, |doc, _| tree::move_to(doc, &id(other), Some(&id(node)), None));
        devices.meet();
        let tree = Tree::read(devices.documents[0].read());
        assert!(tree.nodes[&id(node)].recovered && !tree.nodes[&id(other)].recovered, "{node}");
    }
}

#[test]
fn what_stood_in_a_removed_notebook_moves_up() {
    let mut devices = with_notebooks(4, 2);
    for n in 1..4 {
        devices.edit(0, |doc, _| tree::move_to(doc, &id(n), Some(&id(n - 1)), None));
    }
    devices.meet();
    devices.edit(0, |doc, now| tree::delete(doc, &id(1), now));
    devices.edit(1, |doc, now| tree::delete(doc, &id(2), now));
    devices.meet();
    assert_eq!(parent_of(&devices, 1, 3), Some(id(0)));
    // Its notes find where they moved by its own row.
    assert_eq!(parent_of(&devices, 1, 2), Some(id(0)));
    devices.edit(0, |doc, _| tree::restore(doc, &id(2)));
    assert_eq!(parent_of(&devices, 0, 3), Some(id(2)));
}

#[test]
fn a_notebook_put_into_one_that_was_removed_elsewhere_is_not_lost() {
    let mut devices = with_notebooks(2, 2);
    devices.edit(0, |doc, now| tree::delete(doc, &id(0), now));
    devices.edit(1, |doc, _| tree::create(doc, &id(5), "Inside", Some(&id(0))));
    devices.meet();
    let mut top = names(&devices, None);
    top.sort();
    assert_eq!(top, ["Inside", "N1"]);
}

#[test]
fn a_chain_of_many_removed_notebooks_is_read_in_no_time() {
    use automerge::{ROOT, ScalarValue, transaction::Transactable};
    let mut devices = Devices::new(NOTE_TREE_GENESIS, 1);
    devices.edit(0, |doc, _| {
        for n in 0..20_000 {
            doc.put(ROOT, format!("{}:parent", id(n)), id(n + 1))?;
            doc.put(ROOT, format!("{}:del", id(n)), ScalarValue::Timestamp(1))?;
        }
        Ok(doc.put(ROOT, format!("{}:name", id(20_000)), "top")?)
    });
    // Walking every chain to its end would take 200 million steps.
    let tree = Tree::read(devices.documents[0].read());
    assert!(tree.nodes.iter().all(|(key, node)| *key == id(20_000) || node.parent == Some(id(20_000))));
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Move { device: usize, node: usize, parent: Option<usize> },
    Delete { device: usize, node: usize },
    Send { from: usize, to: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_usize, 0..6_usize, proptest::option::of(0..6_usize)).prop_map(|(device, node, parent)| Op::Move { device, node, parent }),
        1 => (0..3_usize, 0..6_usize).prop_map(|(device, node)| Op::Delete { device, node }),
        1 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Op::Send { from, to }),
    ]
}

proptest! {
    #[test]
    fn random_concurrent_moves_give_one_tree_without_cycles_and_lose_nothing(ops in proptest::collection::vec(op(), 1..40)) {
        let mut devices = with_notebooks(6, 3);
        for op in ops {
            match op {
                Op::Move { device, node, parent } => {
                    let parent = parent.map(id);
                    let _refused = devices.try_edit(device, |doc, _| tree::move_to(doc, &id(node), parent.as_deref(), None));
                }
                Op::Delete { device, node } => drop(devices.try_edit(device, |doc, now| tree::delete(doc, &id(node), now))),
                Op::Send { from, to } if from != to => devices.send(from, to),
                Op::Send { .. } => {}
            }
        }
        devices.meet();
        let tree = Tree::read(devices.documents[0].read());
        for device in 1..3 {
            prop_assert_eq!(&tree, &Tree::read(devices.documents[device].read()));
        }
        prop_assert_eq!(tree.nodes.len(), 6);
        let living = tree.nodes.values().filter(|node| node.deleted_ms.is_none()).count();
        let mut reached = 0;
        let mut open: Vec<String> = tree.children(None).into_iter().map(|(id, _)| id.to_owned()).collect();
        while let Some(id) = open.pop() {
            reached += 1;
            prop_assert!(reached <= living, "a notebook is reached twice");
            open.extend(tree.children(Some(&id)).into_iter().map(|(id, _)| id.to_owned()));
        }
        prop_assert_eq!(reached, living);
    }
}
