//! A look at the cluster on a screen of any size. Pure.

use std::time::{Duration, SystemTime};

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table};

use super::numbers::{UNKNOWN, count, percent, size, span, time};
use crate::watch::{Latency, Server, Shown};

/// The first row of the table of servers that is on the screen.
#[derive(Debug, Default)]
pub(super) struct Scroll {
    first: usize,
    rows: usize,
    height: usize,
}

impl Scroll {
    /// Takes note of a key.
    pub(super) fn press(&mut self, key: KeyCode) {
        let page = self.height.max(1);
        let to = match key {
            KeyCode::Up | KeyCode::Char('k') => self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first + 1,
            KeyCode::PageUp => self.first.saturating_sub(page),
            KeyCode::PageDown => self.first + page,
            KeyCode::Home => 0,
            KeyCode::End => self.rows,
            _ => self.first,
        };
        self.first = to.min(self.last());
    }

    fn last(&self) -> usize {
        self.rows.saturating_sub(self.height)
    }

    fn show(&mut self, rows: usize, height: usize) -> usize {
        (self.rows, self.height) = (rows, height);
        self.first = self.first.min(self.last());
        self.first
    }
}

/// Draws a look; `None`: there has been none yet.
pub(super) fn draw(frame: &mut Frame<'_>, shown: Option<&Shown>, scroll: &mut Scroll) {
    let area = frame.area();
    let Some(shown) = shown else {
        frame.render_widget(Paragraph::new("looking at the cluster …"), area);
        return;
    };
    let problems = problems(shown, area.width, area.height / 3);
    let findings = u16::try_from(problems.len()).unwrap_or(u16::MAX);
    let rows = shown.groups.iter().map(|group| group.servers.len() + 1).sum::<usize>() + 1;
    let events = u16::try_from(shown.events.len()).unwrap_or(u16::MAX).saturating_add(1);
    let [head, found, figures, servers, past, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(findings),
        Constraint::Length(4),
        Constraint::Max(u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1)),
        Constraint::Min(events.min(area.height / 4)),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(shown)), head);
    frame.render_widget(Paragraph::new(problems), found);
    charts(frame, shown, figures);
    table(frame, shown, servers, scroll);
    frame.render_widget(Paragraph::new(timeline(shown, past.height)), past);
    let hint = "q ends  ↑ ↓ servers  rates and percentiles: the last 10 s  times: UTC";
    frame.render_widget(Paragraph::new(hint.dark_gray()), keys);
}

/// The colour and the sign of a severity, of a finding or of an event.
fn mark(severity: &str) -> (Style, &'static str) {
    match severity {
        "ok" | "good" => (Style::new().fg(Color::Green), "●"),
        "warning" => (Style::new().fg(Color::Yellow), "▲"),
        "critical" => (Style::new().fg(Color::Red).add_modifier(Modifier::BOLD), "✖"),
        _ => (Style::new().fg(Color::Cyan), "◆"),
    }
}

/// The colour and the sign of a server's state.
fn state_mark(state: Option<&str>) -> (Style, &'static str) {
    match state {
        Some("online") => mark("good"),
        Some("offline") => mark("critical"),
        Some("waiting") => mark("warning"),
        Some(_) => mark("info"),
        None => (Style::new().fg(Color::DarkGray), "–"),
    }
}

fn clock(ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    let text = humantime::format_rfc3339_seconds(at.unwrap_or(SystemTime::UNIX_EPOCH)).to_string();
    text.get(11..19).unwrap_or_default().to_owned()
}

fn header(shown: &Shown) -> Line<'_> {
    let (style, sign) = mark(shown.severity);
    let word = match shown.severity {
        "ok" => "all is well".to_owned(),
        severity => severity.to_uppercase(),
    };
    let servers = || shown.groups.iter().flat_map(|group| &group.servers);
    let online = servers().filter(|server| server.state == Some("online")).count();
    let master = match (shown.master.answers, shown.master.is_learning) {
        (false, _) => "DOES NOT ANSWER".red().bold(),
        (true, true) => "is learning".yellow(),
        (true, false) => "answers".into(),
    };
    Line::from(vec![
        shown.cluster.as_str().bold(),
        "  ".into(),
        Span::styled(format!("{sign} {word}"), style),
        format!("  {online} of {} online  master ", servers().count()).into(),
        master,
        format!("  epoch {}", shown.epoch.as_deref().unwrap_or("none")).into(),
        format!("  {}  {}", shown.mode, clock(shown.at_ms)).dark_gray(),
    ])
}

/// What is wrong, each finding with all of its text as long as there are enough lines; the cause is at its end.
fn problems(shown: &Shown, width: u16, most: u16) -> Vec<Line<'_>> {
    let (width, most) = (usize::from(width).max(1), usize::from(most));
    let mut lines = Vec::new();
    for (number, found) in shown.findings.iter().enumerate() {
        let (style, sign) = mark(found.severity);
        let own = wrapped(&format!("{sign} {}: {}", found.severity, found.text), width);
        let is_last = number + 1 == shown.findings.len();
        // One line is for what has no room.
        if lines.len() + own.len() + usize::from(!is_last) > most {
            let left = shown.findings.len() - number;
            // Rather part of the first than nothing.
            if number == 0 {
                let some = own.into_iter().take(most.saturating_sub(1));
                lines.extend(some.map(|line| Line::styled(line, style)));
            }
            let what = if number == 0 { "all of it" } else { "them" };
            let text = format!("… {left} without room: see {what} by `standin status`");
            if lines.len() < most {
                lines.push(Line::styled(text, style));
            }
            return lines;
        }
        lines.extend(own.into_iter().map(|line| Line::styled(line, style)));
    }
    lines
}

/// Lines of at most this many characters, broken between words where these are short enough.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        if used > 0 {
            lines.last_mut().expect("there is one").push(' ');
            used += 1;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.last_mut().expect("there is one").extend(word);
            lines.push(String::new());
            word = rest;
        }
        used += word.len();
        lines.last_mut().expect("there is one").extend(word);
    }
    lines
}

fn charts(frame: &mut Frame<'_>, shown: &Shown, area: Rect) {
    let (totals, history) = (&shown.totals, &shown.history);
    let database = shown.database.as_ref();
    let reads = database.map_or(UNKNOWN.to_owned(), |d| format!("{}/s", count(d.reads_per_s)));
    let health = match database {
        None => Span::from("no database"),
        Some(d) if d.down > 0 => format!("DOWN for {} of {}", d.down, d.servers).red().bold(),
        Some(d) => format!("p99 {}", time(d.read.p99_us)).into(),
    };
    let parts = &shown.partitions;
    let mut moved = format!("{} partitions", parts.total);
    for (number, what) in [
        (parts.stood_in, "at stand-ins"),
        (parts.moving, "moving"),
        (parts.unowned, "SERVED BY NOBODY"),
    ] {
        if number > 0 {
            moved += &format!(", {number} {what}");
        }
    }
    let per_mille = |ratio: &Option<f64>| ratio.map(|ratio| whole(ratio * 1_000.0));
    let rate = |rate: &Option<f64>| rate.map(whole);
    let all = [
        (
            format!("requests {}/s", count(totals.requests_per_s)),
            Span::from(moved),
            history.requests_per_s.iter().map(rate).collect::<Vec<_>>(),
            None,
        ),
        (
            format!("hits {}", percent(totals.hit_ratio)),
            "of reads".into(),
            history.hit_ratio.iter().map(per_mille).collect(),
            Some(1_000),
        ),
        (
            format!("p99 {}", time(totals.all.p99_us)),
            format!("p50 {}", time(totals.all.p50_us)).into(),
            history.p99_us.clone(),
            None,
        ),
        (
            format!("database reads {reads}"),
            health,
            history.origin_reads_per_s.iter().map(rate).collect(),
            None,
        ),
    ];
    let columns = Layout::horizontal([Constraint::Fill(1); 4]).spacing(2).split(area);
    for ((title, note, points, max), area) in all.into_iter().zip(columns.iter()) {
        let [text, chart, more] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(2), Constraint::Length(1)])
                .areas(*area);
        let shown = points.len().saturating_sub(usize::from(chart.width));
        frame.render_widget(Paragraph::new(title.bold()), text);
        let mut sparkline =
            Sparkline::default().data(points[shown..].iter().copied()).style(Color::Blue);
        if let Some(max) = max {
            sparkline = sparkline.max(max);
        }
        frame.render_widget(sparkline, chart);
        frame.render_widget(Paragraph::new(note), more);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, which is not negative, for a chart"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

const HEADS: [&str; 11] = [
    "SERVER",
    "STATE",
    "OWNS",
    "REQ/S",
    "HITS",
    "HIT p50/p99",
    "MISS p50/p99",
    "WRITE p50/p99",
    "CACHED",
    "LAG",
    "DATABASE, STAND-INS, TROUBLE",
];
const WIDTHS: [Constraint; 11] = [
    Constraint::Length(12),
    Constraint::Length(11),
    Constraint::Length(6),
    Constraint::Length(7),
    Constraint::Length(7),
    Constraint::Length(15),
    Constraint::Length(15),
    Constraint::Length(15),
    Constraint::Length(8),
    Constraint::Length(7),
    Constraint::Fill(1),
];

/// The columns that a narrow screen leaves out, the first ones first, until the last one has this width.
const LEFT_OUT: [usize; 7] = [8, 9, 6, 7, 5, 4, 2];
const NOTES_MIN: u16 = 26;

/// The columns that have room on a screen of this width.
fn columns(width: u16) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..HEADS.len()).collect();
    for left_out in LEFT_OUT {
        let taken = columns.iter().map(|column| match WIDTHS[*column] {
            Constraint::Length(length) => length + 1,
            _ => NOTES_MIN,
        });
        if taken.sum::<u16>() <= width {
            break;
        }
        columns.retain(|column| *column != left_out);
    }
    columns
}

fn table(frame: &mut Frame<'_>, shown: &Shown, area: Rect, scroll: &mut Scroll) {
    let columns = columns(area.width);
    let mut rows = Vec::new();
    for group in &shown.groups {
        let online = group.servers.iter().filter(|server| server.state == Some("online")).count();
        let title = format!("group {}", group.name);
        let note = format!("{online} of {} online", group.servers.len());
        let last = columns.len().saturating_sub(3);
        let blank = std::iter::repeat_n(Cell::default(), last);
        let head = [Cell::from(title.dark_gray()), Cell::from("")].into_iter();
        rows.push(Row::new(head.chain(blank).chain([Cell::from(note.dark_gray())])));
        rows.extend(group.servers.iter().map(|server| {
            let cells = cells(server);
            Row::new(columns.iter().map(|column| Cell::from(cells[*column].clone())))
        }));
    }
    let height = usize::from(area.height.saturating_sub(1));
    let first = scroll.show(rows.len(), height);
    let rows = rows.into_iter().skip(first).take(height);
    let heads = Row::new(columns.iter().map(|column| HEADS[*column]));
    let widths = columns.iter().map(|column| WIDTHS[*column]);
    let table = Table::new(rows, widths).header(heads.style(Style::new().fg(Color::DarkGray)));
    frame.render_widget(table, area);
}

fn cells(server: &Server) -> [Line<'_>; 11] {
    let (style, sign) = state_mark(server.state);
    let figures = server.figures.as_ref();
    // What is old is grey; its age is among the notes.
    let old = if server.is_stale { Style::new().fg(Color::DarkGray) } else { Style::new() };
    let of = |text: Option<String>| Line::styled(text.unwrap_or_else(|| UNKNOWN.to_owned()), old);
    let both = |latency: &Latency| format!("{}/{}", time(latency.p50_us), time(latency.p99_us));
    [
        Line::from(server.name.as_str().bold()),
        Line::styled(format!("{sign} {}", server.state.unwrap_or("no map")), style),
        Line::from(server.owned.to_string()),
        of(figures.map(|f| count(f.requests_per_s))),
        of(figures.map(|f| percent(f.hit_ratio))),
        of(figures.map(|f| both(&f.hit))),
        of(figures.map(|f| both(&f.miss))),
        of(figures.map(|f| both(&f.write))),
        of(figures.map(|f| size(f.items_bytes))),
        of(figures.map(|f| time(Some(f.loop_lag_us)))),
        notes(server),
    ]
}

fn notes(server: &Server) -> Line<'_> {
    let mut notes: Vec<Span<'_>> = Vec::new();
    let mut note = |span: Span<'static>| {
        if !notes.is_empty() {
            notes.push(", ".into());
        }
        notes.push(span);
    };
    if !server.answers {
        note("does not answer".red());
    } else if server.figures.is_none() {
        note(server.problem.clone().unwrap_or_else(|| "no figures".to_owned()).yellow());
    }
    for stand_in in &server.stands_in_for {
        let text = format!("stands in for {}: {}", stand_in.server, stand_in.partitions);
        note(text.yellow());
    }
    for stand_in in &server.stood_in_by {
        note(format!("{} stands in: {}", stand_in.server, stand_in.partitions).into());
    }
    for (number, what) in [(server.moving, "moving"), (server.unowned, "served by nobody")] {
        if number > 0 {
            note(format!("{number} {what}").red());
        }
    }
    if let Some(figures) = &server.figures {
        if !server.is_stale && server.owned > 0 && !figures.is_leased && !figures.is_orphan {
            note("no lease".red());
        }
        if figures.is_orphan {
            note("without the master".yellow());
        }
        if figures.refused_per_s.is_some_and(|rate| rate > 0.0) {
            note(format!("refuses {}/s", count(figures.refused_per_s)).red());
        }
        match &figures.database {
            Some(database) if !database.up => {
                let lasts = span(database.down_ms.unwrap_or(0));
                let reason = database.reason.as_deref().unwrap_or_default();
                note(format!("database down for {lasts}: {reason}").red());
            }
            Some(database) if !server.is_stale => {
                let (reads, writes) = (count(database.reads_per_s), count(database.writes_per_s));
                note(format!("db {reads} r/s {writes} w/s").dark_gray());
            }
            _ => {}
        }
    }
    if server.is_stale
        && let Some(age) = server.age_ms
    {
        note(format!("figures {} old", span(age)).dark_gray());
    }
    Line::from(notes)
}

fn timeline(shown: &Shown, height: u16) -> Vec<Line<'_>> {
    let mut lines = vec![Line::from("EVENTS, newest first".dark_gray())];
    lines.extend(shown.events.iter().rev().take(usize::from(height)).map(|event| {
        let (style, sign) = mark(event.severity);
        Line::from(vec![
            format!("{} ", clock(event.at_ms)).dark_gray(),
            Span::styled(format!("{sign} "), style),
            event.text.as_str().into(),
        ])
    }));
    if shown.events.is_empty() {
        lines.push(Line::from("none since this began to look".dark_gray()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::watch::tests::one_offline;

    fn screen(shown: Option<&Shown>, width: u16, height: u16, scroll: &mut Scroll) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, shown, scroll)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_screen_of_any_size_says_who_is_offline_and_who_stands_in() {
        let shown = one_offline();
        for (width, height) in [(200, 50), (120, 30), (80, 24), (60, 20)] {
            let text = screen(Some(&shown), width, height, &mut Scroll::default());
            for part in ["▲ WARNING", "a1 is offline since epoch", "✖ offline", "a2 stands in"]
            {
                assert!(text.contains(part), "{part} at {width} by {height}:\n{text}");
            }
        }
        for (width, height) in [(1, 1), (20, 5), (300, 2), (3, 100)] {
            screen(Some(&shown), width, height, &mut Scroll::default());
            screen(None, width, height, &mut Scroll::default());
        }
    }

    #[test]
    fn the_end_of_a_finding_is_shown_on_any_screen_and_what_has_no_room_is_counted() {
        let mut shown = one_offline();
        let text = "a3 has made 12 calls to the database in the last ten seconds that failed or were refused; table \
                    items is locked by process 4711 of user app, application nightly-report";
        shown.findings[0].text = text.to_owned();
        for (width, height) in [(200, 50), (100, 30), (80, 24)] {
            let text = screen(Some(&shown), width, height, &mut Scroll::default());
            assert!(text.contains("nightly-report"), "{width} by {height}:\n{text}");
        }
        let one = shown.findings[0].clone();
        shown.findings = vec![one; 40];
        let text = screen(Some(&shown), 100, 30, &mut Scroll::default());
        assert!(text.contains("nightly-report"), "{text}");
        assert!(text.contains("36 without room: see them by `standin status`"), "{text}");
        for (width, height) in [(1, 1), (20, 5), (300, 2), (3, 100)] {
            screen(Some(&shown), width, height, &mut Scroll::default());
        }
        let long = wrapped("ab abcdefghij k", 4);
        assert_eq!(long, ["ab", "abcd", "efgh", "ij k"]);
    }

    #[test]
    fn keys_move_through_more_servers_than_there_is_room_for_and_not_beyond() {
        let mut shown = one_offline();
        let server = shown.groups[0].servers[1].clone();
        let many = (0..100).map(|n| Server { name: format!("s{n}"), ..server.clone() });
        shown.groups[0].servers = many.collect();
        let mut scroll = Scroll::default();
        let first = |scroll: &mut Scroll| screen(Some(&shown), 120, 24, scroll);
        assert!(first(&mut scroll).contains("s0 "));
        scroll.press(KeyCode::End);
        let end = first(&mut scroll);
        assert!(end.contains("s99 ") && !end.contains("s0 "), "{end}");
        scroll.press(KeyCode::Down);
        assert_eq!(first(&mut scroll), end);
        scroll.press(KeyCode::PageUp);
        assert!(!first(&mut scroll).contains("s99 "));
        scroll.press(KeyCode::Home);
        assert!(first(&mut scroll).contains("s0 "));
    }
}
