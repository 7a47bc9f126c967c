//! Messages of nf_tables: tables, chains, rules, sets and their elements; written, and read back.
//!
//! Promise: pure but for `read_*`, which ask the kernel. A whole change is one batch, which the kernel takes as one
//! transaction: packets see the state before it or after it. Numbers are those of `linux/netfilter/nf_tables.h`.

use nix::libc;

use super::expression::{DATA_VALUE, DATA_VERDICT, Expression, LIST_ELEMENT, Verdict};
use crate::addresses::Family;
use crate::netlink::socket::{CREATE, DUMP};
use crate::netlink::{Attribute, Batch, Error, Message, Socket, Writer, attributes, find};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const DELETE_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

/// Size of the netfilter header: family, version, resource.
const HEADER_BYTES: usize = 4;

/// Bytes of elements in one message; the list is an attribute, and those end at 64 KiB.
const ELEMENTS_BYTES: usize = 60_000;

/// The kind of a comment in the user data of a rule or a table, as nft writes and shows it.
const COMMENT: u8 = 0;

/// Where a base chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    /// `NF_INET_*`.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetForm {
    pub(crate) name: &'static str,
    /// nft's type numbers and the bytes of each part of the key.
    pub(crate) key: Vec<(u32, u32)>,
    pub(crate) value: Value,
    /// Parts of the key are ranges.
    pub(crate) ranges: bool,
    /// Elements are put in by packets, with a timeout, at most so many.
    pub(crate) dynamic: Option<u32>,
}

/// What a map has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// It is a set.
    Nothing,
    Verdict,
    /// nft's type numbers and the bytes of each part.
    Parts(Vec<(u32, u32)>),
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Element {
    pub(crate) key: Box<[u8]>,
    /// The end of the range, for sets of ranges.
    pub(crate) end: Option<Box<[u8]>>,
    pub(crate) data: Data,
}

/// The value of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Data {
    Nothing,
    Bytes(Box<[u8]>),
    Verdict(Verdict),
}

/// A change of one or several tables.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    batch: Batch,
    /// What each message is for, in words for an operator.
    labels: Vec<String>,
    sets: u32,
}

impl Transaction {
    pub(crate) fn new() -> Self {
        let mut batch = Batch::new();
        edge(&mut batch, BATCH_BEGIN);
        Self { batch, labels: vec!["begin a transaction".to_owned()], sets: 0 }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.len() == 1
    }

    /// The messages, ready to be sent, and what each is for.
    pub(crate) fn finish(mut self) -> (Batch, Vec<String>) {
        edge(&mut self.batch, BATCH_END);
        self.labels.push("end a transaction".to_owned());
        (self.batch, self.labels)
    }

    /// Makes a table unless it is there; the comment is of its first making.
    pub(crate) fn add_table(&mut self, family: Family, table: &str, remark: &str) {
        self.message(NEW_TABLE, CREATE, family, format!("add table {table}"), |body| {
            body.text(1, table);
            body.attribute(6, &comment(remark));
        });
    }

    pub(crate) fn delete_table(&mut self, family: Family, table: &str) {
        self.message(DELETE_TABLE, 0, family, format!("delete table {table}"), |body| body.text(1, table));
    }

    pub(crate) fn add_chain(&mut self, family: Family, table: &str, chain: &str, hook: Option<Hook>) {
        self.message(NEW_CHAIN, CREATE, family, format!("add chain {chain}"), |body| {
            body.text(1, table);
            body.text(3, chain);
            if let Some(hook) = hook {
                body.nested(4, |at| {
                    at.be32(1, hook.number);
                    at.be32(2, hook.priority as u32);
                });
                body.text(7, hook.kind);
            }
        });
    }

    pub(crate) fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.message(DELETE_CHAIN, 0, family, format!("delete chain {chain}"), |body| {
            body.text(1, table);
            body.text(3, chain);
        });
    }

    /// Takes all rules out of a chain.
    pub(crate) fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.message(DELETE_RULE, 0, family, format!("empty chain {chain}"), |body| {
            body.text(1, table);
            body.text(2, chain);
        });
    }

    /// Appends a rule to a chain.
    pub(crate) fn add_rule(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        rule: &[Expression],
        remark: &str,
    ) {
        self.message(NEW_RULE, CREATE | APPEND, family, format!("add a rule to chain {chain}"), |body| {
            body.text(1, table);
            body.text(2, chain);
            body.nested(4, |list| rule.iter().for_each(|expression| expression.write(list)));
            body.attribute(7, &comment(remark));
        });
    }

    pub(crate) fn add_set(&mut self, family: Family, table: &str, form: &SetForm) {
        self.sets += 1;
        let id = self.sets;
        self.message(NEW_SET, CREATE, family, format!("add set {}", form.name), |body| {
            write_form(body, table, form, id)
        });
    }

    pub(crate) fn delete_set(&mut self, family: Family, table: &str, set: &str) {
        self.message(DELETE_SET, 0, family, format!("delete set {set}"), |body| {
            body.text(1, table);
            body.text(2, set);
        });
    }

    pub(crate) fn add_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(NEW_ELEMENT, CREATE, (family, table, set), elements);
    }

    pub(crate) fn delete_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements(DELETE_ELEMENT, 0, (family, table, set), elements);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        (family, table, set): (Family, &str, &str),
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let verb = if kind == NEW_ELEMENT { "add elements to" } else { "delete elements of" };
            self.message(kind, flags, family, format!("{verb} {set}"), |body| {
                body.text(1, table);
                body.text(2, set);
                body.nested(3, |list| {
                    let start = list.position();
                    while list.position() - start < ELEMENTS_BYTES
                        && let Some(element) = elements.next()
                    {
                        list.nested(LIST_ELEMENT, |one| write_element(one, element, kind == NEW_ELEMENT));
                    }
                });
            });
        }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        label: String,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        self.labels.push(label);
        self.batch.message(kind, flags, |writer| {
            header(writer, family);
            body(writer);
        });
    }
}

/// The tables of a family: name and comment.
pub(crate) fn read_tables(socket: &mut Socket, family: Family) -> Result<Vec<(String, String)>, Error> {
    read_all(
        socket,
        GET_TABLE,
        family,
        |_| (),
        |row| {
            let remark = find(row, 6).map(|data| comment_of(data.value)).unwrap_or_default();
            Some((text(row, 1)?, remark))
        },
    )
}

/// The chains of a table.
pub(crate) fn read_chains(socket: &mut Socket, family: Family, table: &str) -> Result<Vec<String>, Error> {
    read_all(
        socket,
        GET_CHAIN,
        family,
        |body| body.text(1, table),
        |row| (text(row, 1)? == table).then(|| text(row, 3)).flatten(),
    )
}

/// The rules of a table in their order: chain and comment.
pub(crate) fn read_rules(
    socket: &mut Socket,
    family: Family,
    table: &str,
) -> Result<Vec<(String, String)>, Error> {
    read_all(
        socket,
        GET_RULE,
        family,
        |body| body.text(1, table),
        |row| {
            let remark = find(row, 7).map(|data| comment_of(data.value)).unwrap_or_default();
            (text(row, 1)? == table).then(|| Some((text(row, 2)?, remark))).flatten()
        },
    )
}

/// The sets of a table.
pub(crate) fn read_sets(socket: &mut Socket, family: Family, table: &str) -> Result<Vec<String>, Error> {
    read_all(
        socket,
        GET_SET,
        family,
        |body| body.text(1, table),
        |row| (text(row, 1)? == table).then(|| text(row, 2)).flatten(),
    )
}

/// The elements of a set.
pub(crate) fn read_elements(
    socket: &mut Socket,
    family: Family,
    table: &str,
    set: &str,
) -> Result<Vec<Element>, Error> {
    let request = |batch: &mut Batch| {
        batch.message(GET_ELEMENT, DUMP, |body| {
            header(body, family);
            body.text(1, table);
            body.text(2, set);
        });
    };
    socket.dump(request, |rows, message| {
        let body = message.payload.get(HEADER_BYTES..).unwrap_or_default();
        let list = find(body, 3).map(|list| list.value).unwrap_or_default();
        rows.extend(attributes(list).filter_map(|element| read_element(element.value)));
    })
}

/// A number that grows with every transaction of anybody in this network namespace.
pub(crate) fn read_generation(socket: &mut Socket) -> Result<u32, Error> {
    let mut batch = Batch::new();
    batch.message(GET_GENERATION, 0, |body| body.raw(&[0; HEADER_BYTES]));
    let mut generation = None;
    socket.request(&mut batch, |message| {
        let body = message.payload.get(HEADER_BYTES..).unwrap_or_default();
        generation = find(body, 1).and_then(|number| number.be32());
    })?;
    generation.ok_or(Error::Silent)
}

fn read_all<T>(
    socket: &mut Socket,
    kind: u16,
    family: Family,
    filter: impl Fn(&mut Writer<'_>),
    row: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let request = |batch: &mut Batch| {
        batch.message(kind, DUMP, |body| {
            header(body, family);
            filter(body);
        });
    };
    socket.dump(request, |rows, message: Message<'_>| {
        rows.extend(row(message.payload.get(HEADER_BYTES..).unwrap_or_default()));
    })
}

fn header(body: &mut Writer<'_>, family: Family) {
    let family = match family {
        Family::V4 => libc::NFPROTO_IPV4,
        Family::V6 => libc::NFPROTO_IPV6,
    };
    body.raw(&[family as u8, 0, 0, 0]);
}

/// The begin and the end of a batch name the subsystem.
fn edge(batch: &mut Batch, kind: u16) {
    batch.message(kind, 0, |body| body.raw(&[0, 0, 0, (SUBSYSTEM >> 8) as u8]));
}

fn write_form(body: &mut Writer<'_>, table: &str, form: &SetForm, id: u32) {
    const INTERVAL: u32 = 0x4;
    const MAP: u32 = 0x8;
    const TIMEOUT: u32 = 0x10;
    const EVALUATED: u32 = 0x20;
    const CONCATENATED: u32 = 0x80;
    const VERDICT_TYPE: u32 = 0xffff_ff00;
    let mut flags = 0;
    if form.value != Value::Nothing {
        flags |= MAP;
    }
    if form.ranges {
        flags |= INTERVAL | CONCATENATED;
    }
    if form.dynamic.is_some() {
        flags |= TIMEOUT | EVALUATED;
    }
    body.text(1, table);
    body.text(2, form.name);
    body.be32(3, flags);
    body.be32(4, type_number(&form.key));
    body.be32(5, padded_bytes(&form.key));
    match &form.value {
        Value::Nothing => {}
        Value::Verdict => {
            body.be32(6, VERDICT_TYPE);
            body.be32(7, 0);
        }
        Value::Parts(parts) => {
            body.be32(6, type_number(parts));
            body.be32(7, padded_bytes(parts));
        }
    }
    if form.ranges || form.dynamic.is_some() {
        body.nested(9, |description| {
            if let Some(size) = form.dynamic {
                description.be32(1, size);
            }
            if form.ranges {
                description.nested(2, |fields| {
                    for (_, bytes) in &form.key {
                        fields.nested(LIST_ELEMENT, |field| field.be32(1, *bytes));
                    }
                });
            }
        });
    }
    body.be32(10, id);
}

/// nft packs the types of a concatenation six bits each.
fn type_number(parts: &[(u32, u32)]) -> u32 {
    parts.iter().fold(0, |number, (kind, _)| number << 6 | kind)
}

/// Each part begins in a register of its own.
fn padded_bytes(parts: &[(u32, u32)]) -> u32 {
    parts.iter().map(|(_, bytes)| bytes.next_multiple_of(4)).sum()
}

fn write_element(one: &mut Writer<'_>, element: &Element, with_data: bool) {
    one.nested(1, |key| key.attribute(DATA_VALUE, &element.key));
    if let Some(end) = &element.end {
        one.nested(10, |key| key.attribute(DATA_VALUE, end));
    }
    match &element.data {
        _ if !with_data => {}
        Data::Nothing => {}
        Data::Bytes(bytes) => one.nested(2, |data| data.attribute(DATA_VALUE, bytes)),
        Data::Verdict(verdict) => one.nested(2, |data| verdict.write(data)),
    }
}

fn read_element(element: &[u8]) -> Option<Element> {
    let value = |data: Attribute<'_>| find(data.value, DATA_VALUE).map(|value| value.value.into());
    let data = match find(element, 2) {
        None => Data::Nothing,
        Some(data) => match find(data.value, DATA_VERDICT) {
            None => Data::Bytes(value(data)?),
            Some(verdict) => {
                let code = find(verdict.value, 1)?.be32()? as i32;
                let chain = find(verdict.value, 2);
                Data::Verdict(Verdict::of(code, chain.as_ref().and_then(Attribute::text))?)
            }
        },
    };
    Some(Element { key: value(find(element, 1)?)?, end: find(element, 10).and_then(value), data })
}

fn text(row: &[u8], kind: u16) -> Option<String> {
    find(row, kind)?.text().map(str::to_owned)
}

/// User data with a comment: type, length, text with its zero byte.
fn comment(remark: &str) -> Vec<u8> {
    let length = u8::try_from(remark.len() + 1).expect("our comments are short");
    [&[COMMENT, length], remark.as_bytes(), &[0]].concat()
}

fn comment_of(data: &[u8]) -> String {
    match data {
        [COMMENT, length, rest @ ..] => {
            let text = rest.get(..usize::from(*length)).unwrap_or_default();
            String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned()
        }
        _ => String::new(),
    }
}
