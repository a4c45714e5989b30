//! A forest as text, and text on a terminal that stays in its place while log lines pass above it.
//!
//! Knows nodes and columns; asks nobody anything. Colour is only used on a terminal, and not where `NO_COLOR` is set.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};

use super::probe::Trouble;
use super::tree::forest::{Forest, Node, in_order};

const HEADERS: [&str; COLUMNS] = ["ADDRESS", "ROLE", "LINK", "OFFSET", "LAG", "LAG TIME", "KEYS", "MEMORY", "SERVER"];
const COLUMNS: usize = 9;
/// Numbers stand right, words left.
const RIGHT: [bool; COLUMNS] = [false, false, false, true, true, true, true, true, false];

/// One line of the drawing: its cells, what comes after them, and whether all is well with it.
struct Row {
    cells: [String; COLUMNS],
    remark: String,
    well: bool,
}

/// The drawing, a line for each server, trees parted by an empty line.
#[cfg(test)]
fn draw(forest: &Forest) -> Vec<String> {
    draw_with(forest, false)
}

fn draw_with(forest: &Forest, colour: bool) -> Vec<String> {
    let mut rows: Vec<Option<Row>> = Vec::new();
    for root in &forest.roots {
        if !rows.is_empty() {
            rows.push(None);
        }
        branch(forest, *root, "", "", &mut rows);
    }
    let mut widths = HEADERS.map(width);
    for row in rows.iter().flatten() {
        for (w, cell) in widths.iter_mut().zip(&row.cells) {
            *w = (*w).max(width(cell));
        }
    }
    let mut lines = vec![line(&HEADERS.map(String::from), "", &widths)];
    lines.extend(rows.iter().map(|row| match row {
        Some(row) => {
            let text = line(&row.cells, &row.remark, &widths);
            if colour && !row.well { format!("\x1b[31m{text}\x1b[0m") } else { text }
        }
        None => String::new(),
    }));
    lines
}

/// What of a drawing is news when it changes: who is where, and how the links stand; no offsets, no counts.
pub fn shape(forest: &Forest) -> String {
    let mut out = String::new();
    for root in &forest.roots {
        for (at, depth) in forest.walk(*root) {
            let n = &forest.nodes[at];
            let role = n.role().map_or("?", |r| r.name());
            out.push_str(&format!("{depth} {} {role} {}\n", n.address, n.link_kind()));
        }
    }
    out
}

fn branch(forest: &Forest, at: usize, lead: &str, below: &str, rows: &mut Vec<Option<Row>>) {
    let node = &forest.nodes[at];
    rows.push(Some(row(node, lead)));
    let last = node.children.len().saturating_sub(1);
    for (i, child) in node.children.iter().enumerate() {
        let (own, rest) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(forest, *child, &format!("{below}{own}"), &format!("{below}{rest}"), rows);
    }
}

fn row(n: &Node, lead: &str) -> Row {
    let or_dash = |v: Option<String>| v.unwrap_or("-".into());
    let info = n.state.as_ref().ok();
    let cells = [
        format!("{lead}{}", n.address),
        n.role().map_or("?", |r| r.name()).into(),
        n.link(),
        or_dash(n.offset().map(|o| o.to_string())),
        or_dash(n.lag.map(|l| format!("{} B", l.bytes))),
        or_dash(n.lag.map(|l| l.delay.to_string())),
        or_dash(info.map(|i| i.keys.to_string())),
        or_dash(info.and_then(|i| i.memory_bytes).map(human_bytes)),
        or_dash(info.map(|i| format!("{} {}", i.product, i.version))),
    ];
    let mut remark = n.note.clone().unwrap_or_default();
    if let Err(trouble) = &n.state {
        remark = trouble.to_string();
        if let (Trouble::Unreachable(_) | Trouble::Silent, Some(listed)) = (trouble, &n.listed) {
            remark.push_str(&format!("; its master says: {}", listed.state));
            if let Some(ms) = listed.lag_ms {
                remark.push_str(&format!(", {ms} ms behind"));
            }
        }
    }
    Row { cells, remark, well: in_order(n) && n.note.is_none() }
}

fn line(cells: &[String; COLUMNS], remark: &str, widths: &[usize; COLUMNS]) -> String {
    let mut out = String::new();
    for ((cell, w), right) in cells.iter().zip(widths).zip(RIGHT) {
        let gap = " ".repeat(w.saturating_sub(width(cell)));
        let (before, after) = if right { (gap.as_str(), "") } else { ("", gap.as_str()) };
        out.push_str(&format!("{before}{cell}{after}  "));
    }
    out.push_str(remark);
    // Names, states and error texts are a peer's bytes: none of them shall move the cursor.
    out.retain(|c| !c.is_control());
    out.truncate(out.trim_end().len());
    out
}

/// Columns a text takes; every character used here is one wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// `917K`, `1.2M`: three digits are enough to compare servers by.
fn human_bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 1000.0 {
            return if value < 10.0 && unit != "B" { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// The place where a drawing is kept fresh.
///
/// On a terminal the drawing is the last thing on the screen; lines that come in push it down. Elsewhere lines are
/// simply printed, and so is the drawing, when its caller finds it worth it.
pub struct Screen {
    terminal: bool,
    colour: bool,
    /// How many lines the drawing takes on the screen now.
    drawn: usize,
    drawing: Vec<String>,
    /// The size the drawing was made for.
    size: (usize, usize),
    /// The last lines above the drawing, for putting the screen together again when its size changes: how a terminal
    /// rearranges what it shows then, it does not tell.
    recent: VecDeque<String>,
}

impl Screen {
    pub fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { terminal, colour, drawn: 0, drawing: Vec::new(), size: size(), recent: VecDeque::new() }
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A line above the drawing.
    pub fn say(&mut self, text: &str) {
        if !self.terminal {
            // A reader that went away is no reason to stop the servers.
            let _ = writeln!(io::stdout(), "{text}");
            return;
        }
        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let mut frame = self.erased();
        frame.push_str(&text);
        frame.push('\n');
        self.recent.push_back(text);
        if self.recent.len() > 500 {
            self.recent.pop_front();
        }
        self.put(frame);
    }

    /// The drawing itself, with a line or two of the caller's below it.
    pub fn show(&mut self, forest: &Forest, below: &[String]) {
        let mut lines = draw_with(forest, self.colour);
        lines.extend_from_slice(below);
        if !self.terminal {
            let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
            return;
        }
        self.drawing = lines;
        self.refresh();
    }

    /// Draws again what was drawn last: after the terminal changed its size, for one.
    pub fn refresh(&mut self) {
        if self.terminal {
            let frame = self.erased();
            self.put(frame);
        }
    }

    /// Leaves the drawing as it stands and goes on below it.
    pub fn release(&mut self) {
        self.drawn = 0;
        self.drawing.clear();
    }

    /// What takes the drawing off the screen, so that the next thing written stands where it began.
    fn erased(&mut self) -> String {
        let now = size();
        if now == self.size {
            return if self.drawn > 0 { format!("\x1b[{}F\x1b[J", self.drawn) } else { String::new() };
        }
        self.size = now;
        let room = now.1.saturating_sub(self.drawing.len() + 1);
        let mut frame = String::from("\x1b[2J\x1b[H");
        for text in self.recent.iter().rev().take(room).rev() {
            frame.push_str(&clipped(text, now.0));
            frame.push('\n');
        }
        frame
    }

    /// Writes `frame` and the drawing after it, at once, so that nothing flickers. No line of the drawing is longer
    /// than the screen is wide, or it would take two.
    fn put(&mut self, mut frame: String) {
        let (columns, rows) = self.size;
        let room = rows.saturating_sub(1).max(1);
        let left_out = self.drawing.len().saturating_sub(room);
        let kept = if left_out > 0 { room - 1 } else { self.drawing.len() };
        for text in &self.drawing[..kept] {
            frame.push_str(&clipped(text, columns));
            frame.push('\n');
        }
        if left_out > 0 {
            frame.push_str(&clipped(&format!("… {} more lines", self.drawing.len() - kept), columns));
            frame.push('\n');
        }
        self.drawn = kept + usize::from(left_out > 0);
        let mut out = io::stdout().lock();
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }
}

/// Columns and rows of the terminal, or the usual when it does not say.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(w) if w.ws_col > 0 && w.ws_row > 0 => (w.ws_col.into(), w.ws_row.into()),
        _ => (80, 24),
    }
}

/// The first `columns` of a line; colour codes take no room and are kept.
fn clipped(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut used, mut in_code) = (0, false);
    for c in text.chars() {
        if c == '\x1b' || in_code {
            in_code = c != 'm';
            out.push(c);
        } else if used < columns {
            used += 1;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests;
