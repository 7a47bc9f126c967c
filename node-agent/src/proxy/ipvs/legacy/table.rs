//! One of the old tables as a whole: the kernel takes and gives nothing smaller.
//!
//! Promise: other people's rules stay as they are, in their order; ours come first in their chain and are known by
//! their comment. `splice` is pure; jumps between chains are offsets and are moved with what they lead to.

use super::entry::{Layout, is_ours};

/// Hooks of netfilter, in the kernel's order.
pub(super) const HOOKS: usize = 5;
/// `NF_INET_PRE_ROUTING`.
pub(super) const PREROUTING: usize = 0;
/// `NF_INET_LOCAL_IN`.
pub(super) const INPUT: usize = 1;
/// `NF_INET_LOCAL_OUT`.
pub(super) const OUTPUT: usize = 3;
/// `NF_INET_POST_ROUTING`.
pub(super) const POSTROUTING: usize = 4;

/// Where the verdict of a standard target is, from the target's start; the name before it is empty.
const VERDICT_AT: usize = 32;

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Hooks that it has, a bit each.
    pub(super) valid_hooks: u32,
    /// Offset of the first rule of each hook's chain.
    pub(super) hook_entry: [u32; HOOKS],
    /// Offset of each hook's policy.
    pub(super) underflow: [u32; HOOKS],
    /// How many rules there are.
    pub(super) count: u32,
    /// The rules, one after the other.
    pub(super) entries: Vec<u8>,
}

/// The kernel gave a table that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's table cannot be read: wrong offset {0}")]
pub(super) struct Damaged(usize);

/// The table with `rules` of ours, by hook, in the place of those of ours that it has.
pub(super) fn splice(
    layout: &Layout,
    table: &Table,
    rules: &[Vec<Vec<u8>>; HOOKS],
) -> Result<Table, Damaged> {
    let old = split(layout, table)?;
    let mut new = Table { valid_hooks: table.valid_hooks, ..Table::default() };
    // New offset by old one, and where ours begin.
    let mut moved: Vec<(u32, u32)> = Vec::with_capacity(old.len());
    let mut first: [Option<u32>; HOOKS] = [None; HOOKS];
    for (offset, entry) in &old {
        for hook in hooks_of(table).filter(|hook| table.hook_entry[*hook] == *offset) {
            first[hook] = Some(new.entries.len() as u32);
            for rule in &rules[hook] {
                new.entries.extend_from_slice(rule);
                new.count += 1;
            }
        }
        moved.push((*offset, new.entries.len() as u32));
        if !is_ours(layout, entry) {
            new.entries.extend_from_slice(entry);
            new.count += 1;
        }
    }
    let at = |offset: u32| {
        let index =
            moved.binary_search_by_key(&offset, |(old, _)| *old).map_err(|_| Damaged(offset as usize))?;
        Ok(moved[index].1)
    };
    for hook in hooks_of(table) {
        new.hook_entry[hook] = first[hook].ok_or(Damaged(table.hook_entry[hook] as usize))?;
        new.underflow[hook] = at(table.underflow[hook])?;
    }
    let starts: Vec<u32> = split(layout, &new)?.into_iter().map(|(offset, _)| offset).collect();
    for start in starts {
        move_jump(layout, &mut new.entries[start as usize..], &at)?;
    }
    Ok(new)
}

/// How many rules of ours a table has.
pub(super) fn ours(layout: &Layout, table: &Table) -> Result<usize, Damaged> {
    Ok(split(layout, table)?.into_iter().filter(|(_, entry)| is_ours(layout, entry)).count())
}

fn hooks_of(table: &Table) -> impl Iterator<Item = usize> + use<> {
    let valid = table.valid_hooks;
    (0..HOOKS).filter(move |hook| valid & (1 << hook) != 0)
}

/// Each rule with its offset.
fn split<'a>(layout: &Layout, table: &'a Table) -> Result<Vec<(u32, &'a [u8])>, Damaged> {
    let mut all = Vec::with_capacity(table.count as usize);
    let mut offset = 0;
    while offset < table.entries.len() {
        let size = read_u16(&table.entries[offset..], layout.target_offset + 2).ok_or(Damaged(offset))?;
        let entry = table
            .entries
            .get(offset..offset + size)
            .filter(|_| size > layout.entry)
            .ok_or(Damaged(offset))?;
        all.push((offset as u32, entry));
        offset += size;
    }
    Ok(all)
}

/// Corrects the offset in a jump to another chain.
fn move_jump(
    layout: &Layout,
    entry: &mut [u8],
    at: &impl Fn(u32) -> Result<u32, Damaged>,
) -> Result<(), Damaged> {
    let target = read_u16(entry, layout.target_offset).ok_or(Damaged(0))?;
    let standard = entry.get(target + 2).is_some_and(|first| *first == 0);
    let verdict = target + VERDICT_AT;
    let Some(bytes) = entry.get_mut(verdict..verdict + 4).filter(|_| standard) else { return Ok(()) };
    // Below zero it is a verdict, not a place.
    if let Ok(place) = u32::try_from(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) {
        bytes.copy_from_slice(&at(place)?.to_ne_bytes());
    }
    Ok(())
}

fn read_u16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Target, V4, rule};
    use super::*;

    /// Somebody else's rule with a standard target: a verdict below 0 or a place.
    fn other(verdict: i32) -> Vec<u8> {
        let mut entry = vec![0; V4.entry + 40];
        let size = entry.len() as u16;
        entry[V4.target_offset..V4.target_offset + 2].copy_from_slice(&(V4.entry as u16).to_ne_bytes());
        entry[V4.target_offset + 2..V4.target_offset + 4].copy_from_slice(&size.to_ne_bytes());
        entry[V4.entry..V4.entry + 2].copy_from_slice(&40u16.to_ne_bytes());
        entry[V4.entry + VERDICT_AT..V4.entry + VERDICT_AT + 4].copy_from_slice(&verdict.to_ne_bytes());
        entry
    }

    /// INPUT: jump to the third rule, policy; a chain of one rule; OUTPUT: policy.
    fn table() -> Table {
        let size = other(0).len() as u32;
        Table {
            valid_hooks: 1 << INPUT | 1 << OUTPUT,
            hook_entry: [0, 0, 0, 3 * size, 0],
            underflow: [0, size, 0, 3 * size, 0],
            count: 4,
            entries: [other(2 * size as i32), other(-2), other(-5), other(-2)].concat(),
        }
    }

    #[test]
    fn ours_come_first_and_others_keep_their_jumps() {
        let ours_rule = rule(&V4, &[], Target::Drop);
        let (size, own) = (other(0).len() as u32, ours_rule.len() as u32);
        let mut rules: [Vec<Vec<u8>>; HOOKS] = Default::default();
        rules[INPUT] = vec![ours_rule.clone()];
        rules[OUTPUT] = vec![ours_rule.clone(), ours_rule];
        let new = splice(&V4, &table(), &rules).unwrap();
        assert_eq!((new.count, ours(&V4, &new).unwrap()), (7, 3));
        assert_eq!((new.hook_entry[INPUT], new.underflow[INPUT]), (0, own + size));
        assert_eq!((new.hook_entry[OUTPUT], new.underflow[OUTPUT]), (own + 3 * size, 3 * own + 3 * size));
        let jump = (own as usize + V4.entry + VERDICT_AT) as u32;
        assert_eq!(new.entries[jump as usize..jump as usize + 4], (own + 2 * size).to_ne_bytes());
        // Once more gives the same, and none of ours gives what was there.
        assert_eq!(splice(&V4, &new, &rules).unwrap(), new);
        assert_eq!(splice(&V4, &new, &Default::default()).unwrap(), table());
    }

    #[test]
    fn a_damaged_table_is_told() {
        let mut table = table();
        table.entries.truncate(table.entries.len() - 1);
        assert!(splice(&V4, &table, &Default::default()).is_err());
    }
}
