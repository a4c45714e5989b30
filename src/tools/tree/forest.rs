//! From what each server said of itself, and what its master says of it, to trees.
//!
//! A pure function over answers: no socket, no clock. A server's own word about its master decides where it hangs; only
//! one that cannot be asked hangs where others say, and last where it was expected.
//!
//! ```text
//!   answers                        forest
//!   6401: lists 6402               6401 master
//!   6402: no answer          →     └─ 6402 unreachable      (6401 lists it)
//!   6404: my master is 6402           └─ 6404 replica       (its own word)
//! ```

use std::collections::{BTreeSet, HashMap};

use super::lag::Lag;
use crate::tools::probe::{Address, Info, Link, Listed, Role, Trouble};

/// One server, asked under every name it was heard of.
#[derive(Clone, Debug)]
pub struct Answer {
    pub names: BTreeSet<Address>,
    pub state: Result<Info, Trouble>,
}

/// A server in its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name to show: the first in order, so that every drawing shows the same one.
    pub address: Address,
    pub names: BTreeSet<Address>,
    pub state: Result<Info, Trouble>,
    /// What its master says of it.
    pub listed: Option<Listed>,
    pub parent: Option<usize>,
    pub children: Vec<usize>,
    pub lag: Option<Lag>,
    /// What a reader should know beyond the columns.
    pub note: Option<String>,
}

impl Node {
    pub fn role(&self) -> Option<Role> {
        match (&self.state, self.parent) {
            (Ok(info), _) => Some(info.role),
            (Err(_), Some(_)) => Some(Role::Replica),
            (Err(_), None) => None,
        }
    }

    /// The state of its link to its master in a word or two; `-` for a master.
    pub fn link(&self) -> String {
        match &self.state {
            Ok(info) if info.loading => "loading".into(),
            Ok(Info { master: Some((_, link)), .. }) => link.to_string(),
            Ok(_) => "-".into(),
            Err(_) => self.link_kind().into(),
        }
    }

    /// The same without what changes by itself.
    pub fn link_kind(&self) -> &str {
        match &self.state {
            Ok(info) if info.loading => "loading",
            Ok(Info { master: Some((_, link)), .. }) => link.kind(),
            Ok(_) => "-",
            Err(Trouble::Unreachable(_) | Trouble::Silent) => "unreachable",
            // Somebody lives there; its master's word is the best there is.
            Err(Trouble::NeedsPassword | Trouble::WrongPassword | Trouble::Refused(_) | Trouble::Elsewhere(_)) => {
                match &self.listed {
                    Some(listed) if listed.state == "online" => "up",
                    Some(_) => "sync",
                    None => "?",
                }
            }
        }
    }

    /// The offset it stands at, by its own word or else by what its master last heard.
    pub fn offset(&self) -> Option<u64> {
        match &self.state {
            Ok(info) => Some(info.offset),
            Err(_) => self.listed.as_ref().map(|l| l.offset),
        }
    }

    /// Whether it is a replica whose stream flows.
    pub fn is_linked(&self) -> bool {
        self.link_kind() == "up"
    }
}

/// Trees, each under its root; both roots and children are in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    pub nodes: Vec<Node>,
    pub roots: Vec<usize>,
}

impl Forest {
    /// Every node below and with `root`, parents first, with its depth.
    pub fn walk(&self, root: usize) -> Vec<(usize, usize)> {
        let mut order = Vec::new();
        let mut stack = vec![(root, 0)];
        while let Some((at, depth)) = stack.pop() {
            order.push((at, depth));
            stack.extend(self.nodes[at].children.iter().rev().map(|child| (*child, depth + 1)));
        }
        order
    }

    pub fn find(&self, name: &Address) -> Option<&Node> {
        self.nodes.iter().find(|n| n.names.contains(name))
    }
}

/// Puts every answer in its place. `expected` says under which master a server belongs that cannot be asked and that
/// nobody lists: from a configuration file, or from an earlier look.
pub fn arrange(answers: Vec<Answer>, expected: &HashMap<Address, Address>) -> Forest {
    let mut nodes: Vec<Node> = answers
        .into_iter()
        .map(|Answer { names, state }| Node {
            address: names.first().cloned().unwrap_or(Address::new("?", 0)),
            names,
            state,
            listed: None,
            parent: None,
            children: Vec::new(),
            lag: None,
            note: None,
        })
        .collect();
    let by_name: HashMap<Address, usize> =
        nodes.iter().enumerate().flat_map(|(i, n)| n.names.iter().map(move |name| (name.clone(), i))).collect();

    for node in &mut nodes {
        if let Ok(Info { master: Some((master, _)), .. }) = &node.state {
            node.parent = by_name.get(master).copied();
        }
    }
    place_listed(&mut nodes, &by_name);
    for at in 0..nodes.len() {
        if nodes[at].state.is_err() && nodes[at].parent.is_none() {
            let parent = nodes[at].names.iter().find_map(|n| by_name.get(expected.get(n)?)).copied();
            nodes[at].parent = parent.filter(|p| !is_above(&nodes, at, *p));
        }
    }
    cut_cycles(&mut nodes);

    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|a, b| nodes[*a].address.cmp(&nodes[*b].address));
    let mut roots = Vec::new();
    for at in order {
        match nodes[at].parent {
            Some(parent) => nodes[parent].children.push(at),
            None => roots.push(at),
        }
    }
    Forest { nodes, roots }
}

/// Hands each `slaveN` line to the replica it means, and makes a node of each line that means nobody known.
fn place_listed(nodes: &mut Vec<Node>, by_name: &HashMap<Address, usize>) {
    for master in 0..nodes.len() {
        let lines = nodes[master].state.as_ref().map(|i| i.replicas.clone()).unwrap_or_default();
        let mut unclear = Vec::new();
        for line in lines {
            match by_name.get(&line.address).copied() {
                Some(at) if nodes[at].parent == Some(master) => nodes[at].listed = Some(line),
                Some(at) if nodes[at].state.is_err() && nodes[at].parent.is_none() && !is_above(nodes, at, master) => {
                    nodes[at].parent = Some(master);
                    nodes[at].listed = Some(line);
                }
                _ => unclear.push(line),
            }
        }
        for line in unclear {
            // A replica that announces nothing is listed by the address its connection came from, which need not be
            // one it listens at. If one of this master's replicas has that port, it is the one.
            let port = line.address.port;
            let meant = (0..nodes.len()).find(|at| {
                let n = &nodes[*at];
                n.parent == Some(master) && n.listed.is_none() && n.names.iter().any(|name| name.port == port)
            });
            if let Some(at) = meant {
                nodes[at].listed = Some(line);
                continue;
            }
            let why = match port {
                0 => "reads the stream without telling a port".to_owned(),
                _ => "listed here, but that address is another server: see replica-announce-ip".to_owned(),
            };
            nodes.push(Node {
                address: line.address.clone(),
                // No name: it must not be mistaken for the server that does live there.
                names: BTreeSet::new(),
                state: Err(Trouble::Elsewhere(why)),
                listed: Some(line),
                parent: Some(master),
                children: Vec::new(),
                lag: None,
                note: None,
            });
        }
    }
}

/// Whether `upper` is `at` itself or hangs somewhere below it, so that hanging `at` under it would close a ring.
fn is_above(nodes: &[Node], at: usize, upper: usize) -> bool {
    let mut up = Some(upper);
    for _ in 0..=nodes.len() {
        match up {
            Some(i) if i == at => return true,
            Some(i) => up = nodes[i].parent,
            None => return false,
        }
    }
    false
}

/// Stock servers let two servers be each other's replica (both then wait for ever). The ring is opened above its
/// first address, and says so.
fn cut_cycles(nodes: &mut [Node]) {
    for start in 0..nodes.len() {
        let mut ring = vec![start];
        let mut up = nodes[start].parent;
        while let Some(at) = up {
            if at == start {
                if let Some(first) = ring.into_iter().min_by(|a, b| nodes[*a].address.cmp(&nodes[*b].address))
                    && let Some(above) = nodes[first].parent.take()
                {
                    nodes[first].note = Some(format!("a ring: its master is {}", nodes[above].address));
                }
                break;
            }
            if ring.contains(&at) {
                break;
            }
            ring.push(at);
            up = nodes[at].parent;
        }
    }
}

/// Whether a link's state is one that a tree in order shows.
pub fn in_order(node: &Node) -> bool {
    match &node.state {
        Ok(Info { loading: false, master: Some((_, Link::Up)), .. }) => true,
        Ok(info) => info.role == Role::Master && !info.loading,
        Err(_) => node.is_linked(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::new("127.0.0.1", port)
    }

    fn info(role: Role, master: Option<u16>, replicas: &[u16]) -> Info {
        Info {
            run_id: String::new(),
            product: "redis".into(),
            version: "7".into(),
            role,
            loading: false,
            replid: "r".into(),
            replid2: String::new(),
            offset: 0,
            keys: 0,
            memory_bytes: None,
            master: master.map(|p| (address(p), Link::Up)),
            replicas: replicas
                .iter()
                .map(|p| Listed { address: address(*p), state: "online".into(), offset: 5, lag_ms: None })
                .collect(),
        }
    }

    fn master(port: u16, replicas: &[u16]) -> Answer {
        Answer { names: [address(port)].into(), state: Ok(info(Role::Master, None, replicas)) }
    }

    fn replica(port: u16, of: u16, replicas: &[u16]) -> Answer {
        Answer { names: [address(port)].into(), state: Ok(info(Role::Replica, Some(of), replicas)) }
    }

    fn dead(port: u16) -> Answer {
        Answer { names: [address(port)].into(), state: Err(Trouble::Silent) }
    }

    /// `6401(6402(6404) 6403)`: ports and nesting, nothing else.
    fn shape(forest: &Forest) -> String {
        fn one(forest: &Forest, at: usize) -> String {
            let node = &forest.nodes[at];
            let below: Vec<String> = node.children.iter().map(|c| one(forest, *c)).collect();
            match below.is_empty() {
                true => node.address.port.to_string(),
                false => format!("{}({})", node.address.port, below.join(" ")),
            }
        }
        forest.roots.iter().map(|r| one(forest, *r)).collect::<Vec<_>>().join(" + ")
    }

    fn check(answers: Vec<Answer>, expected: &[(u16, u16)], shape_of: &str) -> Forest {
        let expected = expected.iter().map(|(c, p)| (address(*c), address(*p))).collect();
        let forest = arrange(answers, &expected);
        assert_eq!(shape(&forest), shape_of);
        forest
    }

    #[test]
    fn a_tree_is_the_same_in_whatever_order_its_servers_answered() {
        let all = [master(1, &[2, 3]), replica(2, 1, &[4]), replica(3, 1, &[]), replica(4, 2, &[])];
        check(all.to_vec(), &[], "1(2(4) 3)");
        check(all.iter().rev().cloned().collect(), &[], "1(2(4) 3)");
    }

    #[test]
    fn a_silent_middle_keeps_its_place_and_its_subtree() {
        let forest = check(vec![master(1, &[2, 3]), dead(2), replica(3, 1, &[]), replica(4, 2, &[])], &[], "1(2(4) 3)");
        let middle = forest.find(&address(2)).unwrap();
        assert_eq!((middle.link().as_str(), middle.offset()), ("unreachable", Some(5)));
    }

    #[test]
    fn a_dead_middle_that_nobody_lists_hangs_where_it_was_expected() {
        let all = vec![master(1, &[]), dead(2), replica(4, 2, &[])];
        check(all.clone(), &[], "1 + 2(4)");
        check(all, &[(2, 1)], "1(2(4))");
    }

    #[test]
    fn expectations_never_close_a_ring() {
        check(vec![dead(2), replica(4, 2, &[])], &[(2, 4)], "2(4)");
        check(vec![dead(1), dead(2)], &[(1, 2), (2, 1)], "2(1)");
    }

    #[test]
    fn a_ring_is_opened_at_its_first_address_and_says_so() {
        let forest = check(vec![replica(3, 2, &[]), replica(2, 1, &[]), replica(1, 2, &[])], &[], "1(2(3))");
        assert_eq!(forest.nodes[forest.roots[0]].note.as_deref(), Some("a ring: its master is 127.0.0.1:2"));
        let own = check(vec![replica(7, 7, &[])], &[], "7");
        assert!(own.nodes[0].note.is_some());
    }

    #[test]
    fn a_replica_listed_by_the_address_it_connected_from_is_recognised_by_its_port() {
        let far = Address::new("127.0.0.2", 9);
        let second = Answer { names: [far.clone()].into(), state: Ok(info(Role::Replica, Some(1), &[])) };
        let forest = check(vec![master(1, &[9]), second, master(9, &[])], &[], "1(9) + 9");
        assert!(forest.find(&far).unwrap().listed.is_some());
        assert_eq!(forest.nodes.len(), 3);
    }

    #[test]
    fn a_line_that_leads_to_another_server_is_shown_as_that() {
        let forest = check(vec![master(1, &[9]), master(9, &[])], &[], "1(9) + 9");
        let ghost = &forest.nodes[forest.nodes[forest.roots[0]].children[0]];
        assert!(matches!(&ghost.state, Err(Trouble::Elsewhere(_))));
    }
}
