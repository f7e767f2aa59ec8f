//! Phases as they are written: a text of the command line, and the points of a file.
//!
//! ```text
//! rise=10s@0..5000,peaks=30s@1000+9000/5s/500ms,@day.csv@0.1
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::profile::{PIECES_MAX, Phase, Profile, ProfileError, Shape};

/// The longest name of a phase, in characters.
pub const NAME_MAX: usize = 24;
/// The largest number of phases: each has histograms of its own.
pub const PHASES_MAX: usize = 100;

/// The largest file of a curve: it has room for [`PIECES_MAX`] points, each with a comment.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The rates of a phase, of which some may be in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Rate {
    /// They were given.
    Given(Shape),
    /// The points of a file: lines `seconds,rate`.
    File {
        /// The file.
        path: PathBuf,
        /// The factor of all rates.
        scale: f64,
        /// The time to which the curve is stretched or shrunk; `None`: its own.
        length: Option<Duration>,
    },
}

/// A phase as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its name; `None`: after its number.
    pub name: Option<String>,
    /// Its rates.
    pub rate: Rate,
}

/// All phases of a run as they were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Phases(pub Vec<Written>);

/// The reason why phases can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PhasesError {
    /// The file of a curve can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// A line of a curve.
    #[error("{}:{line}: {text}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The mistake.
        text: String,
    },
    /// The rates.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Phases {
    /// Reads the files of curves, and puts the phases one after the other.
    ///
    /// # Errors
    /// [`PhasesError`].
    pub fn profile(&self) -> Result<Profile, PhasesError> {
        let mut phases = Vec::new();
        for (number, Written { name, rate }) in (1..).zip(&self.0) {
            let shape = match rate {
                Rate::Given(shape) => shape.clone(),
                Rate::File { path, scale, length } => {
                    let text = read(path)
                        .map_err(|error| PhasesError::Read { path: path.clone(), error })?;
                    let points = points(path, &text)?;
                    Shape::Curve { points: scaled(points, *scale, *length) }
                }
            };
            let name = name.clone().unwrap_or_else(|| format!("phase {number}"));
            phases.push(Phase { name, shape });
        }
        Ok(Profile::new(&phases)?)
    }
}

/// A path may also be that of a device without an end.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let text = format!(
            "this is larger than {} MiB; a curve has at most {PIECES_MAX} lines of seconds,rate",
            FILE_BYTES_MAX >> 20
        );
        return Err(std::io::Error::other(text));
    }
    Ok(text)
}

/// Reads the points of a curve: `seconds,rate` in each line. The first line may be a heading; empty lines and those
/// that begin with `#` are passed over.
fn points(path: &Path, text: &str) -> Result<Vec<(f64, f64)>, PhasesError> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut is_first = true;
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |text: String| PhasesError::Line { path: path.to_owned(), line: number, text };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let may_be_heading = std::mem::replace(&mut is_first, false);
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let numbers: Vec<f64> = cells.iter().filter_map(|cell| cell.parse().ok()).collect();
        let (&[seconds, rate], 2) = (&numbers[..], cells.len()) else {
            if may_be_heading && numbers.is_empty() {
                continue;
            }
            return Err(wrong(format!(
                "{line:?} is no point; write seconds,rate, such as 60,1500"
            )));
        };
        if !seconds.is_finite() || !rate.is_finite() || rate < 0.0 {
            return Err(wrong(format!("{line:?}: write finite seconds, and a rate of at least 0")));
        }
        if points.last().is_some_and(|(last, _)| *last > seconds) {
            return Err(wrong(format!("{seconds} s is before the point above; sort by seconds")));
        }
        if points.len() >= PIECES_MAX {
            return Err(wrong(format!("there are more than {PIECES_MAX} points")));
        }
        points.push((seconds, rate));
    }
    if points.len() < 2 || points[0].0 >= points[points.len() - 1].0 {
        let line = text.lines().count().max(1);
        let text = "a curve needs two points of different times".to_owned();
        return Err(PhasesError::Line { path: path.to_owned(), line, text });
    }
    Ok(points)
}

fn scaled(points: Vec<(f64, f64)>, scale: f64, length: Option<Duration>) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return points };
    let (first_s, own_s) = (first.0, last.0 - first.0);
    let stretch = length.map_or(1.0, |length| length.as_secs_f64() / own_s);
    let point = |(seconds, rate)| ((seconds - first_s) * stretch, rate * scale);
    points.into_iter().map(point).collect()
}

impl FromStr for Phases {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let phases: Result<Vec<_>, _> = text.split(',').map(|text| text.trim().parse()).collect();
        let phases = phases?;
        if phases.len() > PHASES_MAX {
            return Err(format!("there are more than {PHASES_MAX} phases"));
        }
        Ok(Self(phases))
    }
}

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no phase; write LENGTH@RATE (10s@5000), LENGTH@FROM..TO (a ramp: 10s@0..5000), \
                 LENGTH@FROM..TO/N (N steps: 10s@1000..5000/5), LENGTH@RATE+BURST/EVERY/FOR (bursts: \
                 60s@1000+9000/5s/500ms), or @FILE or @FILE@SCALE (a curve: @day.csv@0.1), each with NAME= before \
                 it if it is to have a name"
            )
        };
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (Some(name_of(name)?), rest),
            None => (None, text),
        };
        let (length, rates) = rest.split_once('@').ok_or_else(wrong)?;
        let length = match length {
            "" => None,
            length => Some(time(length).ok_or_else(wrong)?),
        };
        if !rates.starts_with(|first: char| first.is_ascii_digit()) {
            let (path, scale) = rates.rsplit_once('@').unwrap_or((rates, "1"));
            let scale = scale.parse().ok().filter(|scale| is_scale(*scale)).ok_or_else(wrong)?;
            if path.is_empty() {
                return Err(wrong());
            }
            return Ok(Self { name, rate: Rate::File { path: path.into(), scale, length } });
        }
        let length = length.ok_or_else(wrong)?;
        let shape = shape(length, rates).ok_or_else(wrong)?;
        Ok(Self { name, rate: Rate::Given(shape) })
    }
}

/// Whether a curve's rates can be multiplied by this number.
#[must_use]
pub fn is_scale(scale: f64) -> bool {
    scale > 0.0 && scale.is_finite()
}

/// Checks the name of a phase.
///
/// # Errors
/// What to change.
pub fn name_of(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    match text.chars().count() {
        1..=NAME_MAX if text.chars().all(is_good) => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is no name of a phase; write 1 to {NAME_MAX} letters, digits, spaces, dots, - or _"
        )),
    }
}

fn shape(length: Duration, rates: &str) -> Option<Shape> {
    if let Some((rate, bursts)) = rates.split_once('+') {
        let mut parts = bursts.split('/');
        let (burst, every, lasting) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let (rate, burst) = (rate.parse().ok()?, burst.parse().ok()?);
        let (every, lasting) = (time(every)?, time(lasting)?);
        return Some(Shape::Bursts { length, rate, burst, every, lasting });
    }
    let Some((from, to)) = rates.split_once("..") else {
        let rate = rates.parse().ok()?;
        return Some(Shape::Ramp { length, from: rate, to: rate });
    };
    let from = from.parse().ok()?;
    match to.split_once('/') {
        Some((to, steps)) => {
            let (to, steps) = (to.parse().ok()?, steps.parse().ok()?);
            Some(Shape::Steps { length, from, to, steps })
        }
        None => Some(Shape::Ramp { length, from, to: to.parse().ok()? }),
    }
}

/// A time with a unit; a number alone means seconds.
fn time(text: &str) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::*;

    fn one(text: &str) -> Written {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn phases_are_read() {
        let secs = Duration::from_secs;
        let given = |text| match one(text).rate {
            Rate::Given(shape) => shape,
            Rate::File { .. } => panic!("{text} names no file"),
        };
        let ramp = |length, from, to| Shape::Ramp { length, from, to };
        assert_eq!(given("10s@5000"), ramp(secs(10), 5_000.0, 5_000.0));
        assert_eq!(given("1m@0..50.5"), ramp(secs(60), 0.0, 50.5));
        let steps = Shape::Steps { length: secs(9), from: 100.0, to: 300.0, steps: 3 };
        assert_eq!(given("9@100..300/3"), steps);
        let lasting = Duration::from_millis(500);
        let (length, every) = (secs(60), secs(5));
        let bursts = Shape::Bursts { length, rate: 1_000.0, burst: 9_000.0, every, lasting };
        assert_eq!(given("60s@1000+9000/5s/500ms"), bursts);
        let file = |path: &str, scale, length| Rate::File { path: path.into(), scale, length };
        assert_eq!(one("@day.csv").rate, file("day.csv", 1.0, None));
        assert_eq!(one("30s@./1.csv@0.25").rate, file("./1.csv", 0.25, Some(secs(30))));
        let Phases(phases) = "rise=10s@0..5000, 5s@5000".parse().unwrap();
        let names: Vec<_> = phases.iter().map(|phase| phase.name.as_deref()).collect();
        assert_eq!(names, [Some("rise"), None]);
    }

    #[test]
    fn what_is_no_phase_is_refused_with_what_to_write() {
        for text in [
            "",
            "10s",
            "10s@",
            "@",
            "@@1",
            "x@5",
            "10s@5..",
            "10s@5..6/x",
            "10s@5+6/1s",
            "-5@1",
            "10s@5+6/1s/1s/1s",
            "@day.csv@-1",
            "@day.csv@x",
            "@5000",
        ] {
            let error = text.parse::<Written>().unwrap_err();
            assert!(error.contains("LENGTH@RATE"), "{text:?}: {error}");
        }
        assert!("=1s@5".parse::<Written>().unwrap_err().contains("name of a phase"));
        assert!(vec!["1s@5"; PHASES_MAX + 1].join(",").parse::<Phases>().is_err());
    }

    #[test]
    fn a_curve_is_read_scaled_and_stretched() {
        let scratch = Scratch::new("curve");
        let path = scratch.file("curve.csv");
        std::fs::write(&path, "# of a Monday\nseconds,rate\n\n100,10\n110, 20\n120,0\n").unwrap();
        let phases: Phases = format!("10s@{}@10", path.display()).parse().unwrap();
        let profile = phases.profile().unwrap();
        assert_eq!(profile.length(), Duration::from_secs(10));
        // Twenty seconds with a mean of 12.5, in half the time and ten times as much.
        assert!((profile.requests_until(Duration::from_secs(10)) - 1_250.0).abs() < 1e-6);
        assert_eq!(profile.spans()[0].name, "phase 1");
    }

    #[test]
    fn a_curve_without_an_end_is_refused() {
        let scratch = Scratch::new("curve-endless");
        let path = scratch.file("curve.csv");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        for path in [path.as_path(), Path::new("/dev/zero")] {
            let phases = Phases(vec![one(&format!("@{}", path.display()))]);
            let error = phases.profile().unwrap_err().to_string();
            assert!(error.contains("larger than 64 MiB"), "{error}");
        }
    }

    #[test]
    fn mistakes_of_a_curve_have_their_line() {
        let scratch = Scratch::new("curve-mistakes");
        let path = scratch.file("curve.csv");
        let phases = Phases(vec![one(&format!("@{}", path.display()))]);
        assert!(phases.profile().unwrap_err().to_string().contains("curve.csv"), "there is none");
        for (text, line, what) in [
            ("", 1, "two points"),
            ("1,2\n", 1, "two points"),
            ("seconds,rate\nx,y\n", 2, "no point"),
            ("1,2\n2,3,4\n", 2, "no point"),
            ("1,2\n0.5,3\n", 2, "sort by seconds"),
            ("1,2\n2,-3\n", 2, "at least 0"),
            ("1,2\n2,inf\n", 2, "finite"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = phases.profile().unwrap_err().to_string();
            assert!(error.contains(&format!("curve.csv:{line}: ")), "{text:?}: {error}");
            assert!(error.contains(what), "{text:?}: {error}");
        }
    }
}
