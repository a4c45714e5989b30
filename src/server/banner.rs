//! The first lines of the log: who starts, and in what mode.
//!
//! Tools look for ` PID: <number>` in the logo, or for the line that stands in its place.

use std::io::IsTerminal;

use crate::base::{log, version};
use crate::config::Settings;

/// An aspen grove: three trunks, one root.
const LOGO: &str = r"
        .oOo.       .oOo.
      .oOOOOOo.   .oOOOOOo.    .oOo.
      OOO\|/OOO   OOO\|/OOO   oOOOOOo      Pando {version} ({build}) {bits} bit
       'Oo|oO'     'Oo|oO'    OO\|/OO      Redis {redis} compatible
          |           |        'O|O'
          |           |          |         Running in {mode} mode
          |           |          |         Port: {port}
          |           |          |         PID: {pid}
    ._____|___________|__________|_____.
         / \         / \        / \
      --'   '-------'   '------'   '--
          one root, as many trunks as you like

";

/// `cluster`, `sentinel` or `standalone`.
fn mode(settings: &Settings, sentinel: bool) -> &'static str {
    match (settings.cluster_enabled, sentinel) {
        (true, _) => "cluster",
        (false, true) => "sentinel",
        (false, false) => "standalone",
    }
}

/// The logo on a terminal or where it is asked for, else one line.
pub fn show(settings: &Settings, sentinel: bool) {
    let on_terminal = !settings.syslog_enabled && settings.logfile.is_empty() && std::io::stdout().is_terminal();
    if settings.always_show_logo || on_terminal {
        log::raw(&logo(settings, sentinel));
    } else {
        tracing::info!("Running mode={}, port={}.", mode(settings, sentinel), settings.port);
    }
}

fn logo(settings: &Settings, sentinel: bool) -> String {
    let fill = [
        ("{version}", version::PANDO.to_owned()),
        ("{build}", option_env!("PANDO_GIT_SHA").unwrap_or("00000000").to_owned()),
        ("{bits}", usize::BITS.to_string()),
        ("{redis}", version::REDIS.to_owned()),
        ("{mode}", mode(settings, sentinel).to_owned()),
        ("{port}", settings.port.to_string()),
        ("{pid}", std::process::id().to_string()),
    ];
    fill.iter().fold(LOGO.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logo_tells_process_id_and_port() {
        let settings = Settings { port: 6401, ..Settings::default() };
        let logo = logo(&settings, false);
        assert!(logo.contains(&format!(" PID: {}\n", std::process::id())), "{logo}");
        assert!(logo.contains(" Port: 6401\n") && logo.contains("standalone"), "{logo}");
        assert!(!logo.contains(['{', '}']), "{logo}");
    }
}
