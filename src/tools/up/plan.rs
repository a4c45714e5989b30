//! What `up` is to start, read from the configuration files: where each server will listen, whom it follows, what its
//! password is. The files are the servers' own; this reads only what it needs to draw and to stop them in order, and
//! leaves judging the rest to the server that is given the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::tools::probe::{Address, Login, Logins};

/// One server to start.
#[derive(Debug)]
pub struct Plan {
    pub file: PathBuf,
    /// What its lines are marked with: the port, or the whole address where two have the same port.
    pub label: String,
    /// `None` when it listens at no TCP port: then it is started and stopped, but not drawn.
    pub address: Option<Address>,
    pub dir: Option<PathBuf>,
    pub logfile: Option<PathBuf>,
    pub master: Option<Address>,
    pub password: Option<String>,
    pub shutdown_timeout_s: u64,
    /// How many masters stand above it, as far as the files tell.
    pub depth: usize,
}

/// Reads all files. The error is a line for the user, which names the file.
pub fn read(files: &[PathBuf]) -> Result<Vec<Plan>, String> {
    let mut plans = Vec::with_capacity(files.len());
    for file in files {
        plans.push(plan(file)?);
    }
    let mut seen: HashMap<Address, &Path> = HashMap::new();
    for p in &plans {
        if let Some(address) = &p.address
            && let Some(other) = seen.insert(address.clone(), &p.file)
        {
            return Err(format!("{} and {} both listen at {address}", other.display(), p.file.display()));
        }
    }
    let depths: Vec<usize> = (0..plans.len()).map(|at| depth(&plans, at)).collect();
    let labels: Vec<String> = plans.iter().map(|p| label(p, &plans)).collect();
    for ((p, depth), label) in plans.iter_mut().zip(depths).zip(labels) {
        p.depth = depth;
        p.label = label;
    }
    Ok(plans)
}

/// The passwords of all the servers, under every name each may be called by.
pub fn logins(plans: &[Plan]) -> Logins {
    let mut logins = Logins::default();
    for p in plans {
        let (Some(address), Some(password)) = (&p.address, &p.password) else { continue };
        let login = Login { user: None, password: Some(password.clone()) };
        for socket in address.resolve() {
            logins.at.insert(Address::new(socket.ip().to_string(), address.port), login.clone());
        }
        logins.at.insert(address.clone(), login.clone());
        // A replica may call its master by a name no file has; one password for all is the usual case.
        if logins.everywhere.password.is_none() {
            logins.everywhere = login;
        }
    }
    logins
}

fn plan(file: &Path) -> Result<Plan, String> {
    let config = Config::peek(file).map_err(|e| format!("{}: {}", file.display(), e.to_string().trim_start()))?;
    let settings = config.now();
    let dir = Some(PathBuf::from(&settings.dir)).filter(|_| config.is_explicit("dir"));
    let logfile = Some(PathBuf::from(&settings.logfile)).filter(|l| !l.as_os_str().is_empty());
    Ok(Plan {
        file: file.to_owned(),
        label: String::new(),
        address: (settings.port != 0).then(|| Address::new(reachable_host(&settings.bind), settings.port)),
        // The server has entered its directory by the time it logs.
        logfile: logfile.map(|l| dir.as_deref().map_or(l.clone(), |d| d.join(&l))),
        dir,
        master: settings.replicaof.clone().map(|(host, port)| Address::new(host, port)),
        password: Some(String::from_utf8_lossy(settings.requirepass.as_bytes()).into_owned()).filter(|p| !p.is_empty()),
        shutdown_timeout_s: settings.shutdown_timeout.unsigned_abs(),
        depth: 0,
    })
}

/// Where to reach a server that listens at these addresses: the first of them, or loopback if that stands for all.
fn reachable_host(bind: &[String]) -> String {
    let first = bind.first().map_or("*", |b| b.trim_start_matches('-'));
    match first {
        "*" | "0.0.0.0" | "" => "127.0.0.1".into(),
        "::*" | "::" => "::1".into(),
        host => host.into(),
    }
}

/// The plan whose server `address` means: by the same words, or because both words mean one socket.
fn find(plans: &[Plan], address: &Address) -> Option<usize> {
    let exact = plans.iter().position(|p| p.address.as_ref() == Some(address));
    exact.or_else(|| {
        let sockets = address.resolve();
        plans.iter().position(|p| p.address.iter().any(|a| a.resolve().iter().any(|s| sockets.contains(s))))
    })
}

fn depth(plans: &[Plan], mut at: usize) -> usize {
    let mut depth = 0;
    // Files can describe a ring; no path is longer than there are files.
    while let Some(above) = plans[at].master.as_ref().and_then(|m| find(plans, m))
        && depth < plans.len()
    {
        at = above;
        depth += 1;
    }
    depth
}

fn label(plan: &Plan, plans: &[Plan]) -> String {
    match &plan.address {
        Some(address) => {
            let same_port = plans.iter().filter_map(|p| p.address.as_ref()).filter(|a| a.port == address.port).count();
            if same_port > 1 { address.to_string() } else { address.port.to_string() }
        }
        None => plan.file.file_stem().map_or("?".into(), |n| n.to_string_lossy().into_owned()),
    }
}
