//! HELP of every container command, made from the rows of its subcommands. Knows no command of its own.

use super::call::{Call, Flow};
use crate::base::Error;
use crate::spec::syntax;

/// Handler of every `…|help` row.
pub fn help(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (container, _) = call.row.split_name();
    let container = container.unwrap_or(call.row.name);
    let mut lines =
        vec![format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container.to_uppercase())];
    let entries = call.engine.table.entries();
    let mut rows: Vec<_> = entries
        .iter()
        .map(|e| e.row)
        .filter(|row| matches!(row.split_name(), (Some(c), own) if c == container && own != "help"))
        .collect();
    rows.sort_by_key(|row| row.name);
    for row in rows {
        lines
            .push(format!("{} {}", row.split_name().1.to_uppercase(), syntax::usage(row.syntax)).trim_end().to_owned());
        lines.push(format!("    {}", row.summary));
    }
    lines.push("HELP".to_owned());
    lines.push("    Print this help.".to_owned());
    call.out.array(lines.len());
    lines.iter().for_each(|l| call.out.simple(l));
    Ok(Flow::Done)
}
