//! `pando-server up FILE…`: runs a whole tree on this machine, one server for each configuration file.
//!
//! One loop over events: lines and ends of the children, looks at the tree, signals. It starts, watches, tells and stops;
//! it never restarts anything, and it knows of replication only what `tree` tells it.
//!
//! ```text
//!   children ── lines, ends ──┐
//!   signals ── stop, resize ──┤→ main loop → screen
//!   survey ── a forest ───────┘      └→ "look again" → survey
//! ```

mod child;
mod plan;
mod signals;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;

use super::draw::{Screen, shape};
use super::moment::now;
use super::probe::Trouble;
use super::tree::forest::{Forest, in_order};
use super::tree::survey::Survey;
use child::{Running, ending};
use plan::Plan;

/// How often the children are looked after, whatever else happens.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks at the tree, while it comes up and after that.
const LOOK_STARTING: Duration = Duration::from_millis(100);
const LOOK_RUNNING: Duration = Duration::from_secs(1);
/// When an incomplete tree is worth a drawing where drawings are printed.
const STARTING_LONG: Duration = Duration::from_secs(10);
/// Signals closer than this are one wish: some senders reach a process both by its id and by its group.
const ONE_WISH: Duration = Duration::from_millis(300);
/// What a server may take to stop beyond its `shutdown-timeout`: it saves its data then.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Starts a server for each configuration file, waits until every link is up, draws the tree and keeps the drawing
/// fresh. Ctrl-C (or SIGTERM) stops all of them, leaves first. Nothing that dies is restarted.
#[derive(Debug, Parser)]
#[command(
    name = "pando-server up",
    bin_name = "pando-server up",
    after_help = "PANDO_UP_SERVER names another program to start, a stock redis-server for one; PANDO_UP_SERVER_6402 \
                  does so for the server at port 6402 alone."
)]
struct Args {
    /// Configuration files, one for each server
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Do not show what the servers log
    #[arg(short, long)]
    quiet: bool,
    /// More directives for every server: `up FILE… -- --loglevel verbose`
    #[arg(last = true, value_name = "--DIRECTIVE VALUE")]
    extra: Vec<OsString>,
}

/// What the main loop waits for.
pub enum Event {
    Line(usize, String),
    PipeClosed(usize),
    Looked(Forest),
    Stop,
    Resized,
}

/// Runs the subcommand. Succeeds if every server came up, stayed, and stopped cleanly when asked.
pub fn run(args: &[OsString]) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(e) => return super::usage(&e),
    };
    match Grove::start(args) {
        Ok(mut grove) => grove.run(),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

struct Grove {
    plans: Vec<Plan>,
    children: Vec<Running>,
    /// Which ends were told already.
    told: Vec<bool>,
    quiet: bool,
    phase: Phase,
    clean: bool,
    started_at: Duration,
    forest: Forest,
    screen: Screen,
    printed_shape: Option<String>,
    events: Receiver<Event>,
    look: Sender<()>,
    /// When to ask for the next look; `None` while one is under way.
    look_at: Option<Duration>,
    stops_asked: u32,
    stop_asked_at: Duration,
    /// Who is still to be asked to stop, a level of the tree each, the leaves last.
    levels: Vec<Vec<usize>>,
    stopping: Vec<usize>,
    stop_by: Duration,
}

impl Grove {
    fn start(args: Args) -> Result<Self, String> {
        let plans = plan::read(&args.files)?;
        let program = std::env::current_exe().map_err(|e| format!("up: cannot find this program: {e}"))?;
        for plan in &plans {
            if let Some(dir) = &plan.dir {
                std::fs::create_dir_all(dir)
                    .map_err(|e| format!("{}: dir {}: {e}", plan.file.display(), dir.display()))?;
            }
        }
        let (sender, events) = channel();
        signals::watch(sender.clone()).map_err(|e| format!("up: cannot listen for signals: {e}"))?;

        // Masters first: a replica that finds its master listening need not wait for its next try.
        let mut order: Vec<usize> = (0..plans.len()).collect();
        order.sort_by_key(|at| plans[*at].depth);
        let mut children: Vec<Option<Running>> = plans.iter().map(|_| None).collect();
        for at in order {
            let plan = &plans[at];
            let program = other_program(plan).unwrap_or_else(|| program.clone().into());
            let child = Running::start(at, &program, &plan.file, &args.extra, plan.logfile.clone(), &sender)
                .map_err(|e| format!("{}: cannot start {}: {e}", plan.file.display(), program.display()))?;
            children[at] = Some(child);
        }
        let start = now();
        let look = spawn_survey(&plans, sender);
        Ok(Self {
            told: vec![false; plans.len()],
            children: children.into_iter().flatten().collect(),
            plans,
            quiet: args.quiet,
            phase: Phase::Starting,
            clean: true,
            started_at: start,
            forest: Forest::default(),
            screen: Screen::stdout(),
            printed_shape: None,
            events,
            look,
            look_at: Some(start),
            stops_asked: 0,
            stop_asked_at: Duration::ZERO,
            levels: Vec::new(),
            stopping: Vec::new(),
            stop_by: start,
        })
    }

    fn run(&mut self) -> ExitCode {
        loop {
            match self.events.recv_timeout(TICK) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.tell_ends();
            if self.phase == Phase::Stopping {
                self.stop_on();
            } else if self.look_at.is_some_and(|at| at <= now()) {
                self.look_at = None;
                let _ = self.look.send(());
            }
            if self.told.iter().all(|told| *told) || (self.phase == Phase::Stopping && self.has_given_up()) {
                return if self.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Line(at, line) => {
                self.children[at].heard(&line);
                if !self.quiet && !line.is_empty() {
                    self.screen.say(&format!("{} | {line}", self.plans[at].label));
                }
            }
            Event::PipeClosed(at) => self.children[at].pipe_closed(),
            Event::Looked(forest) => self.looked(forest),
            Event::Stop => self.asked_to_stop(),
            Event::Resized => self.screen.refresh(),
        }
    }

    fn looked(&mut self, forest: Forest) {
        self.forest = forest;
        if self.phase == Phase::Stopping {
            return;
        }
        let waiting = self.waiting_for();
        if waiting.is_empty() {
            self.phase = Phase::Running;
        }
        let starting = self.phase == Phase::Starting;
        self.look_at = Some(now() + if starting { LOOK_STARTING } else { LOOK_RUNNING });
        let status = match waiting.len() {
            0 => format!("{} servers, all links up. Ctrl-C stops them.", self.plans.len()),
            _ if self.phase == Phase::Starting => format!("waiting for {}", waiting.join(", ")),
            _ => format!("not in order: {}", waiting.join(", ")),
        };
        if self.screen.is_terminal() {
            self.screen.show(&self.forest, &[String::new(), status]);
            return;
        }
        if starting && now().saturating_sub(self.started_at) < STARTING_LONG {
            return;
        }
        let shape = shape(&self.forest);
        if self.printed_shape.as_ref() != Some(&shape) {
            self.printed_shape = Some(shape);
            self.screen.show(&self.forest, &[status]);
        }
    }

    /// What is missing until the tree stands as its files say: labels with a reason.
    fn waiting_for(&self) -> Vec<String> {
        let missing = |plan: &Plan| {
            let address = plan.address.as_ref()?;
            let Some(node) = self.forest.find(address) else { return Some(plan.label.clone()) };
            let well = match &node.state {
                Ok(_) | Err(Trouble::NeedsPassword | Trouble::WrongPassword | Trouble::Refused(_)) => in_order(node),
                Err(Trouble::Unreachable(_) | Trouble::Silent | Trouble::Elsewhere(_)) => false,
            };
            let follows = plan.master.is_none() || node.parent.is_some() || self.phase == Phase::Running;
            (!well || !follows).then(|| format!("{} ({})", plan.label, node.link()))
        };
        self.plans.iter().filter_map(missing).collect()
    }

    /// Tells of every child that has ended since the last time.
    fn tell_ends(&mut self) {
        for at in 0..self.children.len() {
            if self.told[at] {
                continue;
            }
            let Some(status) = self.children[at].poll() else { continue };
            self.told[at] = true;
            let plan = &self.plans[at];
            if self.phase == Phase::Stopping && (status.success() || self.stopping.contains(&at)) {
                self.clean &= status.success();
                let verdict =
                    if status.success() { "stopped".into() } else { format!("stopped badly: {}", ending(status)) };
                self.screen.say(&format!("{} {verdict}", plan.label));
                continue;
            }
            self.clean &= status.success() && self.phase != Phase::Starting;
            // A client may have sent SHUTDOWN: that is nobody's failure.
            let how = if status.success() { "was shut down" } else { "ended by itself" };
            self.screen.say(&format!("{} ({}) {how}: {}", plan.label, plan.file.display(), ending(status)));
            let words = if status.success() { Vec::new() } else { self.children[at].last_words() };
            if !words.is_empty() {
                self.screen.say("its last words:");
            }
            for line in words {
                self.screen.say(&format!("    {line}"));
            }
            if self.phase == Phase::Starting {
                // The tree can never stand as it was meant to.
                self.screen.say("the tree cannot come up without it: stopping the others");
                self.begin_stop();
            }
        }
    }

    fn asked_to_stop(&mut self) {
        if self.stops_asked > 0 && now().saturating_sub(self.stop_asked_at) < ONE_WISH {
            return;
        }
        self.stop_asked_at = now();
        self.stops_asked += 1;
        match self.stops_asked {
            1 if self.phase != Phase::Stopping => {
                self.screen.say("stopping, leaves first");
                self.begin_stop();
            }
            1 | 2 => {
                self.screen.say("stopping all at once");
                for child in &self.children {
                    child.signal(Signal::TERM);
                }
                self.stopping.extend(self.levels.drain(..).flatten());
            }
            _ => {
                self.screen.say("killing what is left");
                self.clean = false;
                for child in &self.children {
                    child.signal(Signal::KILL);
                }
            }
        }
    }

    fn begin_stop(&mut self) {
        self.phase = Phase::Stopping;
        self.screen.release();
        self.stop_by = now();
        for at in (0..self.children.len()).filter(|at| self.children[*at].is_alive()) {
            let depth = self.depth_now(at);
            if self.levels.len() <= depth {
                self.levels.resize_with(depth + 1, Vec::new);
            }
            self.levels[depth].push(at);
        }
    }

    /// Its depth as the tree stands now; failovers may have turned the files' order around.
    fn depth_now(&self, at: usize) -> usize {
        let plan = &self.plans[at];
        let Some(address) = &plan.address else { return plan.depth };
        self.forest
            .roots
            .iter()
            .flat_map(|root| self.forest.walk(*root))
            .find(|(node, _)| self.forest.nodes[*node].names.contains(address))
            .map_or(plan.depth, |(_, depth)| depth)
    }

    /// Asks the next level once the one below it has ended.
    fn stop_on(&mut self) {
        if self.stopping.iter().any(|at| self.children[*at].is_alive()) {
            return;
        }
        while let Some(level) = self.levels.pop() {
            let alive: Vec<usize> = level.into_iter().filter(|at| self.children[*at].is_alive()).collect();
            let Some(longest) = alive.iter().map(|at| self.plans[*at].shutdown_timeout_s).max() else { continue };
            for at in &alive {
                self.children[*at].signal(Signal::TERM);
            }
            self.stop_by = now() + Duration::from_secs(longest) + STOP_GRACE;
            self.stopping.extend(alive);
            return;
        }
    }

    /// Whether a level takes longer than any server should. It may still be saving, so it is left alone and named.
    fn has_given_up(&mut self) -> bool {
        let late: Vec<usize> = self.stopping.iter().copied().filter(|at| self.children[*at].is_alive()).collect();
        if late.is_empty() || now() < self.stop_by {
            return false;
        }
        for at in late {
            let pid = self.children[at].pid();
            self.screen.say(&format!("{} has not stopped in time; it goes on as process {pid}", self.plans[at].label));
        }
        self.clean = false;
        true
    }
}

/// The program the environment wants for this server instead of this one.
fn other_program(plan: &Plan) -> Option<OsString> {
    let own = plan.address.as_ref().and_then(|a| std::env::var_os(format!("PANDO_UP_SERVER_{}", a.port)));
    own.or_else(|| std::env::var_os("PANDO_UP_SERVER")).filter(|p| !p.is_empty())
}

/// Looks at the tree in a thread of its own, whenever asked: a server that does not answer holds up nothing but that.
fn spawn_survey(plans: &[Plan], events: Sender<Event>) -> Sender<()> {
    let mut survey = Survey::new(plan::logins(plans));
    for plan in plans {
        if let (Some(address), Some(master)) = (&plan.address, &plan.master) {
            survey.expect(address.clone(), master.clone());
        }
    }
    let seeds: Vec<_> = plans.iter().filter_map(|p| p.address.clone()).collect();
    let (sender, asked) = channel();
    thread::spawn(move || {
        while asked.recv().is_ok() {
            if events.send(Event::Looked(survey.look(&seeds))).is_err() {
                return;
            }
        }
    });
    sender
}
