//! The replica's half: to take a census at the very offset that the master names.
//!
//! The three steps come on one connection; a thread of its own carries them out, and has the turn to walk the data all the
//! while, unless somebody comes to make a snapshot. Whatever the master does or fails to do, the stream is held for no
//! longer than [`HOLD_MAX`].

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{FOR_SNAPSHOT, TURN_PATIENCE, failed, later};
use crate::base::Error;
use crate::exec::call::{Call, Completion, Flow};
use crate::exec::turn::Turn;
use crate::exec::{Engine, Session};
use crate::persist::census::{self, Census, PARTS};
use crate::repl::id::{ReplId, ReplOffset};
use crate::repl::state::Repl;
use crate::resp::Reply;

/// How long the master may take from one step to the next before the stream is held.
const STEP_PATIENCE: Duration = Duration::from_secs(20);
/// How long the stream is held for want of an offset, and how long it may then take to get there.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether the master is still there.
const LOOK: Duration = Duration::from_millis(100);

/// What a step ends with; an error's text is without its code.
type Answer<T> = oneshot::Sender<Result<T, String>>;

enum Step {
    Hold(Answer<ReplOffset>),
    At(ReplOffset, Answer<Census>),
}

impl Step {
    fn refuse(self, reason: &str) {
        // Whoever left does not hear it.
        let _ = match self {
            Self::Hold(answer) => answer.send(Err(reason.to_owned())).is_ok(),
            Self::At(_, answer) => answer.send(Err(reason.to_owned())).is_ok(),
        };
    }
}

/// The work under way.
pub struct Job {
    /// The client that asked for it.
    client: u64,
    steps: Sender<Step>,
}

/// REPLICA CUT.
pub fn cut(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let step = a.next()?;
    match a.left() {
        2 if step.eq_ignore_ascii_case(b"prepare") => {
            let replid = ReplId::parse(a.next()?).ok_or(Error::Syntax)?;
            let part = a.next_i64()?;
            prepare(call, replid, usize::try_from(part).ok().filter(|part| *part < PARTS))
        }
        0 if step.eq_ignore_ascii_case(b"hold") => {
            let (tell, told) = oneshot::channel();
            pass(call, Step::Hold(tell))?;
            Ok(later(answer(told, |offset, out| out.int(offset))))
        }
        1 if step.eq_ignore_ascii_case(b"at") => {
            let offset = a.next_i64()?;
            let (tell, told) = oneshot::channel();
            pass(call, Step::At(offset, tell))?;
            Ok(later(answer(told, |census: Census, out| super::report::write_census(&census, out))))
        }
        _ => Err(Error::Syntax),
    }
}

async fn answer<T: Send + 'static>(
    told: oneshot::Receiver<Result<T, String>>,
    write: impl FnOnce(T, &mut Reply) + Send + 'static,
) -> Completion {
    match told.await {
        Ok(Ok(told)) => Box::new(move |_: &mut Session, out: &mut Reply| write(told, out)),
        Ok(Err(text)) => failed(format!("ERR {text}")),
        Err(_) => failed("ERR the cut was given up".to_owned()),
    }
}

fn pass(call: &Call<'_>, step: Step) -> Result<(), Error> {
    let repl = Repl::of(call.engine);
    let cutting = repl.verification.cutting.lock();
    let job = cutting.as_ref().filter(|job| job.client == call.session.handle.id);
    let passed = job.is_some_and(|job| job.steps.send(step).is_ok());
    if passed { Ok(()) } else { Err(Error::text("ERR there is no cut to go on with")) }
}

fn prepare(call: &mut Call<'_>, replid: ReplId, part: Option<usize>) -> Result<Flow, Error> {
    let (engine, repl) = (call.engine.clone(), Repl::of(call.engine));
    if !engine.state.is_replica() || !repl.link.is_connected() {
        return Err(Error::text("ERR this server is not in step with a master"));
    }
    if repl.replid() != replid {
        return Err(Error::text("ERR this server's data is of another history"));
    }
    let (steps, received) = channel();
    let client = call.session.handle.id;
    {
        let mut cutting = repl.verification.cutting.lock();
        if cutting.is_some() {
            return Err(Error::text("ERR another cut is under way"));
        }
        *cutting = Some(Job { client, steps });
    }
    let (tell, told) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let under_way = UnderWay(&repl);
        work(&engine, under_way, client, replid, part, tell, &received);
    });
    Ok(later(answer(told, |(), out| out.ok())))
}

/// The job's place, given up when dropped.
struct UnderWay<'a>(&'a Repl);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.verification.cutting.lock().take();
    }
}

fn work(
    engine: &Arc<Engine>,
    under_way: UnderWay<'_>,
    client: u64,
    replid: ReplId,
    part: Option<usize>,
    ready: Answer<()>,
    steps: &Receiver<Step>,
) {
    let repl = under_way.0;
    let Some(turn) = engine.turns.wait_last(TURN_PATIENCE) else {
        drop(under_way);
        let _ = ready.send(Err("a snapshot is being made".to_owned()));
        return;
    };
    // Whoever left does not hear it, and is missed at the next step.
    let _ = ready.send(Ok(()));
    let (turn, step) = next(engine, turn, client, steps, STEP_PATIENCE);
    let (Some(turn), Some(Step::Hold(answer))) = (turn, step) else { return };
    let braked = repl.verification.brake.pull();
    let offset = {
        // What was admitted before is through.
        let _gates = engine.gates.take_all();
        engine.log.end_offset()
    };
    let _ = answer.send(Ok(offset));
    let (turn, step) = next(engine, turn, client, steps, HOLD_MAX);
    let (Some(turn), Some(Step::At(target, answer))) = (turn, step) else { return };
    let census = at(engine, repl, &turn, (replid, target), part, &braked, &|| !answer.is_closed());
    drop(braked);
    drop(turn);
    // Whoever hears the answer may ask for another cut.
    drop(under_way);
    let _ = answer.send(census);
}

/// The next step, unless it takes too long or whoever would ask for it has left; refused if the turn was given up meanwhile.
fn next<'t>(
    engine: &Engine,
    turn: Turn<'t>,
    client: u64,
    steps: &Receiver<Step>,
    patience: Duration,
) -> (Option<Turn<'t>>, Option<Step>) {
    let (mut left, mut turn) = (patience, Some(turn));
    while !left.is_zero() && engine.clients.get(client).is_some() {
        turn = turn.filter(|turn| !turn.is_wanted());
        match (steps.recv_timeout(LOOK), &turn) {
            (Ok(step), Some(_)) => return (turn, Some(step)),
            (Ok(step), None) => {
                step.refuse(FOR_SNAPSHOT);
                break;
            }
            (Err(_), _) => left = left.saturating_sub(LOOK),
        }
    }
    (None, None)
}

fn at(
    engine: &Engine,
    repl: &Repl,
    turn: &Turn<'_>,
    (replid, target): (ReplId, ReplOffset),
    part: Option<usize>,
    braked: &crate::repl::brake::Braked<'_>,
    wanted: &dyn Fn() -> bool,
) -> Result<Census, String> {
    braked.until(target);
    let gave_up = || turn.is_wanted() || !engine.state.link_up.load(Relaxed) || !wanted();
    let arrived = || engine.log.end_offset() >= target || gave_up();
    if !braked.wait(HOLD_MAX, arrived) {
        return Err(format!("the stream did not come to offset {target} in time"));
    }
    if turn.is_wanted() {
        return Err(FOR_SNAPSHOT.to_owned());
    }
    let mut stands_at = None;
    let census = census::take(engine, turn, part, wanted, || {
        let here = (repl.replid(), engine.log.end_offset());
        stands_at = Some(here.1);
        let cut = (here == (replid, target)).then_some(target);
        // Nothing is applied before the gates are free again.
        braked.release();
        cut
    });
    census.ok_or_else(|| match stands_at {
        Some(offset) if offset != target => format!("this replica stands at offset {offset}, not at {target}"),
        _ if turn.is_wanted() => FOR_SNAPSHOT.to_owned(),
        _ => "the cut was given up".to_owned(),
    })
}
