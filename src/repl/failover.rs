//! FAILOVER: handing the master's role to a replica without losing a write.
//!
//! ```text
//!   None --FAILOVER--> WaitForSync --a replica has everything--> InProgress --PSYNC FAILOVER accepted--> None (a replica now)
//!    ^    writes pause      | time-out, ABORT                        | refused, ABORT
//!    +----------------------+----------------------------------------+  writes go on; a master again
//! ```
//! A value: it pauses nobody and connects to nobody, it says so in [`Act`]s.

use super::id::ReplOffset;
use super::master::{Phase, Replica, Replicas};
use super::note::{Note, address};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverState {
    #[default]
    None,
    WaitForSync,
    InProgress,
}

impl FailoverState {
    /// `master_failover_state` in INFO.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "no-failover",
            Self::WaitForSync => "waiting-for-sync",
            Self::InProgress => "failover-in-progress",
        }
    }
}

/// `FAILOVER [TO host port [FORCE]] [TIMEOUT ms]`, or `FAILOVER ABORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub target: Option<(String, u16)>,
    pub force: bool,
    pub timeout_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Log(Note),
    /// Hold up writes and everything else that moves the offset.
    PauseWrites,
    ResumeWrites,
    /// Become a replica of this one, with [`super::handshake::Event::SetMaster`]'s `failover` set.
    Follow {
        host: String,
        port: u16,
    },
    /// Become a master again.
    Unfollow,
}

#[derive(Debug, Default)]
pub struct Failover {
    state: FailoverState,
    target: Option<(String, u16)>,
    force: bool,
    deadline_ms: Option<i64>,
}

impl Failover {
    pub fn state(&self) -> FailoverState {
        self.state
    }

    pub fn is_active(&self) -> bool {
        self.state != FailoverState::None
    }

    /// The error is a whole line without its dash.
    pub fn request(
        &mut self,
        now_ms: i64,
        request: Request,
        is_replica: bool,
        replicas: &Replicas,
        acts: &mut Vec<Act>,
    ) -> Result<(), &'static str> {
        if request.timeout_ms.is_some_and(|ms| ms <= 0) {
            return Err("ERR FAILOVER timeout must be greater than 0");
        }
        if self.is_active() {
            return Err("ERR FAILOVER already in progress.");
        }
        if is_replica {
            return Err("ERR FAILOVER is not valid when server is a replica.");
        }
        if replicas.is_empty() {
            return Err("ERR FAILOVER requires connected replicas.");
        }
        if request.force && (request.timeout_ms.is_none() || request.target.is_none()) {
            return Err("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
        }
        match &request.target {
            Some((host, port)) => {
                let Some(replica) = replicas.find(host, *port) else {
                    return Err("ERR FAILOVER target HOST and PORT is not a replica.");
                };
                if replica.phase != Phase::Online {
                    return Err("ERR FAILOVER target replica is not online.");
                }
                note(acts, format!("FAILOVER requested to {}.", address(host, *port)));
            }
            None => note(acts, "FAILOVER requested to any replica."),
        }
        self.state = FailoverState::WaitForSync;
        self.deadline_ms = request.timeout_ms.map(|ms| now_ms + ms);
        self.force = request.force;
        self.target = request.target;
        acts.push(Act::PauseWrites);
        Ok(())
    }

    /// FAILOVER ABORT.
    pub fn abort_request(&mut self, acts: &mut Vec<Act>) -> Result<(), &'static str> {
        if !self.is_active() {
            return Err("ERR No failover in progress.");
        }
        self.abort("Failover manually aborted", acts);
        Ok(())
    }

    /// Often while waiting: at each acknowledgement and each tick. `offset` is where the log stands, with writes paused.
    pub fn look(&mut self, now_ms: i64, offset: ReplOffset, replicas: &Replicas, acts: &mut Vec<Act>) {
        if self.state != FailoverState::WaitForSync {
            return;
        }
        if self.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            match (self.force, self.target.clone()) {
                (true, Some((host, port))) => {
                    let to = address(&host, port);
                    note(acts, format!("FAILOVER to {to} time out exceeded, failing over."));
                    self.follow(host, port, acts);
                }
                _ => self.abort("Replica never caught up before timeout", acts),
            }
            return;
        }
        // One that has said nothing yet may still be loading, be the offset ever so small.
        let has_all = |r: &Replica| r.takes_stream() && r.ack_offset == offset;
        let caught_up = match &self.target {
            Some((host, port)) => replicas.find(host, *port).filter(|r| has_all(r)),
            None => replicas.iter().find(|r| has_all(r) && !r.host().is_empty()),
        };
        if let Some(replica) = caught_up {
            let (host, port) = (replica.host().to_owned(), replica.greeting.listening_port);
            note(acts, format!("Failover target {} is synced, failing over.", address(&host, port)));
            self.follow(host, port, acts);
        }
    }

    /// The target's answer to `PSYNC … FAILOVER`.
    pub fn answered(&mut self, accepted: bool, acts: &mut Vec<Act>) {
        if self.state != FailoverState::InProgress {
            return;
        }
        if accepted {
            self.clear(acts);
        } else {
            self.abort("Failover target rejected psync request", acts);
        }
    }

    fn follow(&mut self, host: String, port: u16, acts: &mut Vec<Act>) {
        self.state = FailoverState::InProgress;
        self.target = Some((host.clone(), port));
        acts.push(Act::Follow { host, port });
    }

    fn abort(&mut self, why: &str, acts: &mut Vec<Act>) {
        match &self.target {
            Some((host, port)) => note(acts, format!("FAILOVER to {} aborted: {why}", address(host, *port))),
            None => note(acts, format!("FAILOVER to any replica aborted: {why}")),
        }
        if self.state == FailoverState::InProgress {
            acts.push(Act::Unfollow);
        }
        self.clear(acts);
    }

    fn clear(&mut self, acts: &mut Vec<Act>) {
        *self = Self::default();
        acts.push(Act::ResumeWrites);
    }
}

fn note(acts: &mut Vec<Act>, text: impl Into<String>) {
    acts.push(Act::Log(Note::notice(text)));
}

#[cfg(test)]
mod tests {
    use super::super::greeting::Greeting;
    use super::*;

    /// Two replicas online at ports 1 and 2, having acknowledged so much.
    fn replicas(acked: [i64; 2]) -> Replicas {
        let mut replicas = Replicas::default();
        for (port, offset) in (1u16..).zip(acked) {
            let greeting = Greeting { listening_port: port, ..Greeting::default() };
            replicas.add_partial(Replica::new(port.into(), "h".into(), greeting, false, 0), 0);
            replicas.acked(port.into(), offset, None, 0);
        }
        replicas
    }

    fn to(port: u16, force: bool, timeout_ms: Option<i64>) -> Request {
        Request { target: Some(("h".into(), port)), force, timeout_ms }
    }

    #[test]
    fn waits_for_a_replica_that_has_everything() {
        let (mut failover, mut acts) = (Failover::default(), Vec::new());
        failover.request(0, Request::default(), false, &replicas([5, 6]), &mut acts).unwrap();
        assert!(acts.contains(&Act::PauseWrites));
        failover.look(1, 10, &replicas([5, 6]), &mut acts);
        assert_eq!(failover.state(), FailoverState::WaitForSync);
        failover.look(2, 10, &replicas([5, 10]), &mut acts);
        assert!(acts.contains(&Act::Follow { host: "h".into(), port: 2 }));
        failover.answered(true, &mut acts);
        assert_eq!((failover.state(), acts.last()), (FailoverState::None, Some(&Act::ResumeWrites)));
        assert!(!acts.contains(&Act::Unfollow));
    }

    #[test]
    fn a_named_target_is_waited_for_alone() {
        let (mut failover, mut acts) = (Failover::default(), Vec::new());
        failover.request(0, to(1, false, Some(100)), false, &replicas([5, 10]), &mut acts).unwrap();
        failover.look(99, 10, &replicas([5, 10]), &mut acts);
        assert_eq!(failover.state(), FailoverState::WaitForSync);
        failover.look(100, 10, &replicas([5, 10]), &mut acts);
        assert_eq!((failover.state(), acts.last()), (FailoverState::None, Some(&Act::ResumeWrites)));
    }

    #[test]
    fn force_goes_on_without_and_a_refusal_turns_back() {
        let (mut failover, mut acts) = (Failover::default(), Vec::new());
        failover.request(0, to(1, true, Some(100)), false, &replicas([5, 10]), &mut acts).unwrap();
        failover.look(100, 10, &replicas([5, 10]), &mut acts);
        assert_eq!(failover.state(), FailoverState::InProgress);
        failover.answered(false, &mut acts);
        assert_eq!(acts[acts.len() - 2..], [Act::Unfollow, Act::ResumeWrites]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut acts = Vec::new();
        let mut check = |request: Request, is_replica: bool, replicas: &Replicas, expect: &str| {
            let mut failover = Failover::default();
            let got = failover.request(0, request, is_replica, replicas, &mut acts);
            assert!(got.unwrap_err().contains(expect), "{got:?}");
            assert!(failover.abort_request(&mut acts).is_err());
        };
        let two = replicas([1, 1]);
        check(to(1, false, Some(0)), false, &two, "must be greater than 0");
        check(to(9, false, None), false, &two, "is not a replica");
        check(to(1, true, None), false, &two, "requires both a timeout");
        check(Request::default(), true, &two, "not valid when server is a replica");
        check(Request::default(), false, &Replicas::default(), "requires connected replicas");
    }
}
