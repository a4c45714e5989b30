//! Finds every server of a replication tree: asks one, and then everybody it names, upwards and downwards.
//!
//! Keeps its connections and what it saw between looks, so that looking again is cheap and a server that died keeps its
//! place in the drawing. Knows nothing of how the result is shown.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::forest::{Answer, Forest, arrange};
use super::lag::{BOUND, Delay, measure};
use crate::tools::probe::{Address, Client, Info, Logins, Patience, Trouble};

/// More servers than this are not followed: a peer could otherwise name addresses for ever.
const MAX_SERVERS: usize = 4096;
/// How many are asked at the same time.
const AT_ONCE: usize = 64;

/// Looks at trees, again and again.
#[derive(Debug, Default)]
pub struct Survey {
    pub logins: Logins,
    pub patience: Patience,
    /// Where a server belongs that nobody lists: from configuration files, and from earlier looks.
    expected: HashMap<Address, Address>,
    /// Who was seen before, so that a server which leaves is missed.
    seen: BTreeSet<Address>,
    clients: HashMap<Address, Client>,
}

/// What one address turned out to be, before it has a place.
struct Found {
    answer: Answer,
    sockets: Vec<SocketAddr>,
}

impl Survey {
    pub fn new(logins: Logins) -> Self {
        Self { logins, ..Self::default() }
    }

    /// Tells that `replica` belongs under `master`, should nobody else be able to say so.
    pub fn expect(&mut self, replica: Address, master: Address) {
        self.expected.insert(replica, master);
    }

    /// Asks `seeds`, everybody seen before and everybody they name, and measures how far the replicas are behind.
    pub fn look(&mut self, seeds: &[Address]) -> Forest {
        let found = self.gather(seeds);
        let mut forest = arrange(found.into_iter().map(|f| f.answer).collect(), &self.expected);
        for node in &forest.nodes {
            if node.names.is_empty() || matches!(node.state, Err(Trouble::Elsewhere(_))) {
                continue;
            }
            self.seen.insert(node.address.clone());
            if let Some(parent) = node.parent {
                self.expected.insert(node.address.clone(), forest.nodes[parent].address.clone());
            }
        }
        for root in forest.roots.clone() {
            self.measure_tree(&mut forest, root);
        }
        forest
    }

    fn gather(&mut self, seeds: &[Address]) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        let mut by_run_id: HashMap<String, usize> = HashMap::new();
        let mut asked: HashSet<Address> = HashSet::new();
        let mut next: Vec<Address> = Vec::new();
        for address in seeds.iter().chain(&self.seen) {
            if asked.insert(address.clone()) {
                next.push(address.clone());
            }
        }
        while !next.is_empty() && found.len() < MAX_SERVERS {
            let now: Vec<Address> = next.drain(..next.len().min(AT_ONCE)).collect();
            for (address, state) in self.ask_all(now) {
                let sockets = if state.is_err() { address.resolve() } else { Vec::new() };
                let known = match &state {
                    Ok(info) if !info.run_id.is_empty() => by_run_id.get(&info.run_id).copied(),
                    Ok(_) => None,
                    Err(_) => found.iter().position(|f| f.sockets.iter().any(|s| sockets.contains(s))),
                };
                if let Some(at) = known {
                    found[at].answer.names.insert(address);
                    continue;
                }
                if let Ok(info) = &state {
                    by_run_id.insert(info.run_id.clone(), found.len());
                    let named = info.master.iter().map(|(a, _)| a).chain(info.replicas.iter().map(|r| &r.address));
                    for address in named.filter(|a| a.port != 0 && !a.host.is_empty()) {
                        if asked.insert(address.clone()) {
                            next.push(address.clone());
                        }
                    }
                }
                found.push(Found { answer: Answer { names: [address].into(), state }, sockets });
            }
        }
        found
    }

    /// Asks all of them at once; a connection that answered is kept for the next time.
    fn ask_all(&mut self, addresses: Vec<Address>) -> Vec<(Address, Result<Info, Trouble>)> {
        let (logins, patience) = (&self.logins, self.patience);
        let jobs: Vec<_> = addresses.into_iter().map(|a| (self.clients.remove(&a), a)).collect();
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = jobs
                .into_iter()
                .map(|(client, address)| {
                    scope.spawn(move || {
                        let answer = ask(client, &address, logins, patience);
                        (address, answer)
                    })
                })
                .collect();
            threads.into_iter().filter_map(|t| t.join().ok()).collect()
        });
        answers
            .into_iter()
            .map(|(address, answer)| match answer {
                Ok((client, info)) => {
                    self.clients.insert(address.clone(), client);
                    (address, Ok(info))
                }
                Err(trouble) => (address, Err(trouble)),
            })
            .collect()
    }

    fn measure_tree(&mut self, forest: &mut Forest, root: usize) {
        let below: Vec<usize> = forest.walk(root).into_iter().skip(1).map(|(at, _)| at).collect();
        let Some(mut root_client) = self.take_client(forest, root) else { return };
        let mut clients: Vec<(usize, Client)> =
            below.iter().filter_map(|at| Some((*at, self.take_client(forest, *at)?))).collect();
        for batch in clients.chunks_mut(AT_ONCE) {
            let (places, mut borrowed): (Vec<usize>, Vec<&mut Client>) = batch.iter_mut().map(|(i, c)| (*i, c)).unzip();
            let lags = measure(&mut root_client, &mut borrowed, BOUND);
            for (at, lag) in places.into_iter().zip(lags) {
                forest.nodes[at].lag = lag;
            }
        }
        for (at, client) in clients.into_iter().chain([(root, root_client)]) {
            self.clients.insert(forest.nodes[at].address.clone(), client);
        }
        for at in below {
            if let (Some(ms), Some(lag)) = (told_delay(forest, at), &mut forest.nodes[at].lag)
                && let Delay::Above(seen) = lag.delay
            {
                // We did not look for long; the masters on the way down did.
                lag.delay = Delay::Above(seen.max(Duration::from_millis(ms)));
            }
        }
    }

    fn take_client(&mut self, forest: &Forest, at: usize) -> Option<Client> {
        forest.nodes[at].names.iter().find_map(|name| self.clients.remove(name))
    }
}

/// The delay the masters on the way down tell, if every one of them measures it.
fn told_delay(forest: &Forest, at: usize) -> Option<u64> {
    let mut sum: u64 = 0;
    let mut up = Some(at);
    while let Some(i) = up.filter(|i| forest.nodes[*i].parent.is_some()) {
        sum = sum.saturating_add(forest.nodes[i].listed.as_ref()?.lag_ms?);
        up = forest.nodes[i].parent;
    }
    Some(sum)
}

fn ask(
    kept: Option<Client>,
    address: &Address,
    logins: &Logins,
    patience: Patience,
) -> Result<(Client, Info), Trouble> {
    if let Some(mut client) = kept {
        match client.info() {
            Ok(info) => return Ok((client, info)),
            // It answered, or would not answer a new connection either.
            Err(trouble @ (Trouble::Silent | Trouble::Refused(_))) => return Err(trouble),
            // The server was restarted, or closes idle connections, or has a password by now: begin anew.
            Err(_) => {}
        }
    }
    let mut client = Client::connect(address, logins, patience)?;
    let info = client.info()?;
    Ok((client, info))
}
