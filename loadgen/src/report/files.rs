//! Writes the files of a report. They come after everything else, so a full disk costs nothing more than
//! these files; the missing ones are reported.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::csv::csv;
use super::document::Document;
use super::percentile_file::percentile_file;
use super::run_page::run_page;
use crate::recorder::{HdrLogError, Recording, write_hdr_log};

/// The files that could not be written, each with the reason.
#[derive(Debug, thiserror::Error)]
pub struct FilesError {
    missing: Vec<String>,
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.join("; ");
        write!(
            f,
            "{missing}; everything else was done. Check that the folder for the report exists and \
             has room"
        )
    }
}

/// The files of a run that were asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outputs {
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) hdr: Option<PathBuf>,
    /// The beginning of the names of the files of percentiles.
    pub(crate) hgrm: Option<PathBuf>,
}

impl Outputs {
    /// Whether each can be written as far as that is known before a run, and none is written over another. The error says
    /// which option to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { json, html, csv, hdr, hgrm } = self;
        let all = [("json", json), ("html", html), ("csv", csv), ("hdr", hdr), ("hgrm", hgrm)];
        let mut places: Vec<(PathBuf, &str)> = Vec::new();
        for (option, path) in
            all.iter().filter_map(|(option, path)| Some((*option, path.as_ref()?)))
        {
            let shown = path.display();
            // The names of the files of percentiles only begin so.
            let is_whole = option != "hgrm";
            let is_folder =
                path.as_os_str().as_bytes().ends_with(b"/") || is_whole && path.is_dir();
            let (Some(name), false) = (path.file_name(), is_folder) else {
                return Err(format!("--{option} {shown}: name a file, not a folder"));
            };
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).canonicalize();
            let folder = folder.ok().filter(|folder| folder.is_dir()).ok_or_else(|| {
                format!(
                    "--{option} {shown}: its folder is not there; make it, or name another file"
                )
            })?;
            let place = folder.join(name);
            let mut others = places.iter().filter(|_| is_whole);
            if let Some((_, other)) = others.find(|(other, _)| *other == place) {
                return Err(format!("--{other} and --{option} are the same file; name two"));
            }
            // A device may be written to by several.
            if is_whole && (place.is_file() || !place.exists()) {
                places.push((place, option));
            }
        }
        Ok(())
    }

    /// Writes as many of them as there is room for.
    pub(crate) fn save(&self, document: &Document) -> Result<(), FilesError> {
        let Self { json, html, csv: timeline, hdr, hgrm } = self;
        let mut files = Files::default();
        if let Some(path) = json {
            files.save_json(path, document);
        }
        if let Some(path) = html {
            files.save(path, run_page(document).map_err(io::Error::other));
        }
        if let Some(path) = timeline {
            files.save(path, Ok(csv(document)));
        }
        if let Some(path) = hdr {
            files.save_log(path, document.hdr_log());
        }
        if let Some(name) = hgrm {
            files.save_percentiles(name, document);
        }
        files.finish()
    }
}

/// Writes one file after the other, as many as it can.
#[derive(Debug, Default)]
pub(crate) struct Files {
    missing: Vec<String>,
}

impl Files {
    /// Writes a text, all of it or nothing.
    pub(crate) fn save(&mut self, path: &Path, text: io::Result<String>) {
        let written = text.and_then(|text| {
            let mut file = File::create(path)?;
            let written = file.write_all(text.as_bytes());
            if written.is_err() {
                // Half a file could be mistaken for a whole one.
                let _ = file.set_len(0);
            }
            written
        });
        if let Err(error) = written {
            self.miss(path, &format_args!("is not written: {error}"));
        }
    }

    /// Writes what serialises as JSON.
    pub(crate) fn save_json(&mut self, path: &Path, value: &impl Serialize) {
        self.save(path, serde_json::to_string_pretty(value).map_err(io::Error::from));
    }

    /// Writes the HDR log of a recording, as many of its lines as there is room for.
    pub(crate) fn save_hdr_log(
        &mut self,
        path: &Path,
        recording: &Recording,
        started: SystemTime,
        comment: &str,
    ) {
        let mut log = Vec::new();
        let written = write_hdr_log(recording, started, comment, &mut log);
        self.save_log(path, written.map(|()| log));
    }

    /// Writes an HDR log, as many of its lines as there is room for.
    pub(crate) fn save_log(&mut self, path: &Path, log: Result<Vec<u8>, HdrLogError>) {
        let log = match log {
            Ok(log) => log,
            Err(error) => return self.miss(path, &format_args!("is not written: {error}")),
        };
        match File::create(path) {
            Ok(file) => self.save_lines(path, &file, &log),
            Err(error) => self.miss(path, &format_args!("is not written: {error}")),
        }
    }

    /// Writes the percentiles of all operations and of each that there was: `<name>.all.hgrm`, `<name>.read.hgrm` …
    pub(crate) fn save_percentiles(&mut self, name: &Path, document: &Document) {
        let mut save = |operation: &str, latency: &Histogram<u64>| {
            let mut path = name.as_os_str().to_owned();
            path.push(format!(".{operation}.hgrm"));
            self.save(Path::new(&path), Ok(percentile_file(latency)));
        };
        save("all", &document.latency());
        for operation in document.operations.iter().filter(|operation| operation.requests > 0) {
            save(&operation.name, &operation.histogram.histogram());
        }
    }

    fn save_lines(&mut self, path: &Path, mut file: &File, log: &[u8]) {
        let mut written_bytes = 0;
        let mut lines = log.split_inclusive(|byte| *byte == b'\n');
        while let Some(line) = lines.next() {
            if let Err(error) = file.write_all(line) {
                // A truncated line would stop a reader of the others.
                let _ = file.set_len(written_bytes);
                let lost = 1 + lines.count();
                let all = log.iter().filter(|byte| **byte == b'\n').count();
                return self.miss(path, &format_args!("lacks {lost} of its {all} lines: {error}"));
            }
            written_bytes += line.len() as u64;
        }
    }

    /// Notes something else about a file.
    pub(crate) fn miss(&mut self, path: &Path, why: &dyn fmt::Display) {
        self.missing.push(format!("{} {why}", path.display()));
    }

    /// The missing files, if there are any.
    pub(crate) fn finish(self) -> Result<(), FilesError> {
        match self.missing.is_empty() {
            true => Ok(()),
            false => Err(FilesError { missing: self.missing }),
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn one_file_that_has_no_room_costs_no_other() {
        let scratch = Scratch::new("report-files");
        let good = scratch.file("good");
        let mut files = Files::default();
        files.save(Path::new("/dev/full"), Ok("text".to_owned()));
        files.save(&scratch.file("no-such-folder/file"), Ok("text".to_owned()));
        files.save(&good, Ok("text".to_owned()));
        assert_eq!(std::fs::read_to_string(good).unwrap(), "text");
        let said = files.finish().unwrap_err().to_string();
        assert!(said.contains("/dev/full is not written"), "{said}");
        assert!(said.contains("no-such-folder"), "{said}");
        assert!(Files::default().finish().is_ok());
    }

    #[test]
    fn files_that_can_not_be_written_are_told_before_the_run() {
        let scratch = Scratch::new("report-check");
        let file = |name: &str| Some(scratch.file(name));
        let none = Outputs::default;
        let good = Outputs { json: file("a"), csv: file("b"), hgrm: file("a"), ..none() };
        assert_eq!(good.check(), Ok(()));
        let bare = Outputs { json: Some("result.json".into()), ..none() };
        assert_eq!(bare.check(), Ok(()));
        // A pipe or a device may be written to.
        let device = || Some(PathBuf::from("/dev/null"));
        assert_eq!(Outputs { json: device(), csv: device(), ..none() }.check(), Ok(()));
        let other_name = scratch.file(".").join("a");
        for (outputs, part) in [
            (Outputs { json: file("none/a"), ..none() }, "--json"),
            (Outputs { hgrm: file("none/a"), ..none() }, "its folder is not there"),
            (Outputs { html: Some(scratch.path().to_owned()), ..none() }, "not a folder"),
            (Outputs { html: Some(PathBuf::new()), ..none() }, "--html"),
            (Outputs { hgrm: file("new/"), ..none() }, "not a folder"),
            (Outputs { json: file("a"), csv: Some(other_name), ..none() }, "--json and --csv"),
        ] {
            let said = outputs.check().unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn the_lines_that_are_missing_in_a_log_are_counted() {
        let mut files = Files::default();
        let full = File::options().write(true).open("/dev/full").unwrap();
        files.save_lines(Path::new("/dev/full"), &full, b"one\ntwo\nthree\n");
        let said = files.finish().unwrap_err().to_string();
        assert!(said.starts_with("/dev/full lacks 3 of its 3 lines"), "{said}");
    }
}
