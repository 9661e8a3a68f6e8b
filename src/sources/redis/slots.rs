//! Which node of a cluster serves which key, and where a node sends those that ask the wrong one.

use std::collections::{BTreeSet, HashMap};

use redis::cluster_routing::Slot;
use redis::{Arg, Cmd, ServerError, Value};

use super::address::Node;
use super::answer;

/// Most masters of a cluster: what Redis itself recommends at most.
const MOST_MASTERS: usize = 1_000;

/// The masters of a cluster, and the slots that each serves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Slots {
    /// In order.
    masters: Vec<Node>,
    /// Where in `masters` the one of a slot is.
    of_slots: HashMap<Slot, usize>,
}

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS`, which `asked` gave. `None` if it makes no sense.
    ///
    /// A node that does not know its own address leaves it out: then it is the one that was asked.
    pub(super) fn from_answer(answer: &Value, asked: &Node) -> Option<Self> {
        let mut ranges = Vec::new();
        for range in answer::array(answer)? {
            let [first, last, master, ..] = answer::array(range)? else { return None };
            let bounds = [answer::integer(first)?, answer::integer(last)?];
            let [first, last] = bounds.map(|bound| u16::try_from(bound).ok());
            let [host, port, ..] = answer::array(master)? else { return None };
            let host = match answer::bytes(host) {
                Some([]) | None => asked.host.clone(),
                Some(host) => str::from_utf8(host).ok()?.to_owned(),
            };
            let node = Node { host, port: u16::try_from(answer::integer(port)?).ok()? };
            ranges.push((first?..=last?, node));
        }
        let masters: Vec<Node> =
            ranges.iter().map(|(_, node)| node.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        if masters.len() > MOST_MASTERS {
            return None;
        }
        let mut of_slots = HashMap::new();
        for (range, node) in ranges {
            let master = masters.binary_search(&node).ok()?;
            for number in range {
                of_slots.insert(Slot::new(number)?, master);
            }
        }
        Some(Self { masters, of_slots })
    }

    /// The master of a key; `None` while its slot has none.
    pub(super) fn master(&self, key: &[u8]) -> Option<&Node> {
        self.of_slots.get(&Slot::for_key(key)).and_then(|index| self.masters.get(*index))
    }

    /// Every master that serves a slot, in order.
    pub(super) fn masters(&self) -> &[Node] {
        &self.masters
    }
}

/// Where a node sends a command that it does not serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Redirect {
    /// To whom.
    pub(super) node: Node,
    /// Whether just this once, with `ASKING` before it, because the slot is on its way there.
    pub(super) asking: bool,
}

impl Redirect {
    /// Reads an error that `asked` gave; `None` if it sends nobody anywhere.
    pub(super) fn from_error(error: &ServerError, asked: &Node) -> Option<Self> {
        let asking = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        // `3999 127.0.0.1:6381`, where the host may be missing, and an IPv6 address has no brackets.
        let (host, port) = error.details()?.split_whitespace().nth(1)?.rsplit_once(':')?;
        let host = if host.is_empty() { asked.host.clone() } else { host.to_owned() };
        Some(Self { node: Node { host, port: port.parse().ok()? }, asking })
    }
}

/// The key that a command is about: of those that read, the first word after the command's name.
pub(super) fn key(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        Arg::Cursor | _ => None,
    });
    let name = words.next()?;
    if name.eq_ignore_ascii_case(b"XINFO") {
        words.next()?;
    }
    words.next()
}

#[cfg(test)]
mod tests {
    use redis::{cmd, parse_redis_value};

    use super::*;

    #[test]
    fn every_slot_of_a_range_has_its_master() {
        let answer = "*2\r\n\
            *3\r\n:0\r\n:9999\r\n*3\r\n$8\r\n10.0.0.1\r\n:7000\r\n$2\r\nid\r\n\
            *4\r\n:10000\r\n:16383\r\n*3\r\n$0\r\n\r\n:7001\r\n$2\r\nid\r\n*3\r\n$8\r\n10.0.0.3\r\n:7002\r\n$2\r\nid\r\n";
        let slots = Slots::from_answer(&parsed(answer), &node("seed", 1)).unwrap();
        // By `CLUSTER KEYSLOT`: 12182, and 5061.
        assert_eq!(slots.master(b"foo"), Some(&node("seed", 7001)));
        assert_eq!(slots.master(b"bar"), Some(&node("10.0.0.1", 7000)));
        assert_eq!(slots.master(b"any{bar}thing"), Some(&node("10.0.0.1", 7000)));
        assert_eq!(slots.masters(), [node("10.0.0.1", 7000), node("seed", 7001)]);
    }

    #[test]
    fn what_is_no_answer_about_slots_is_none() {
        for answer in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*2\r\n:0\r\n:1\r\n",
            "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:70000\r\n",
            "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
        ] {
            assert_eq!(Slots::from_answer(&parsed(answer), &node("seed", 1)), None, "{answer}");
        }
    }

    #[test]
    fn a_redirection_names_the_other_node() {
        let from = |line: &str| {
            let Value::ServerError(error) = parsed(&format!("-{line}\r\n")) else { panic!("{line}") };
            Redirect::from_error(&error, &node("seed", 1))
        };
        let to = |node, asking| Some(Redirect { node, asking });
        assert_eq!(from("MOVED 3999 10.0.0.1:7001"), to(node("10.0.0.1", 7001), false));
        assert_eq!(from("ASK 3999 fe80::1:7001"), to(node("fe80::1", 7001), true));
        assert_eq!(from("MOVED 3999 :7001"), to(node("seed", 7001), false));
        for line in ["MOVED 3999", "MOVED", "MOVED 3999 somewhere", "ERR 3999 10.0.0.1:7001"] {
            assert_eq!(from(line), None, "{line}");
        }
    }

    #[test]
    fn the_key_of_a_command_is_found() {
        let words = |words: &[&str]| {
            let mut command = cmd(words[0]);
            command.arg(&words[1..]);
            key(&command).map(<[u8]>::to_vec)
        };
        for command in [&["LLEN", "q"][..], &["XINFO", "GROUPS", "q"], &["ZCOUNT", "q", "-inf", "5"]] {
            assert_eq!(words(command), Some(b"q".to_vec()), "{command:?}");
        }
        assert_eq!(words(&["TIME"]), None);
    }

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    fn parsed(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).unwrap()
    }
}
