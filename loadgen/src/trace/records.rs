//! The requests of a trace, one after the other, of any format.

use super::columns::Columns;
use super::input::{self, Input};
use super::oracle::Oracle;
use super::twitter::Twitter;
use super::wish::Wish;
use super::{Record, TraceError, TraceFile, TraceFormat};

/// A trace that is being read.
pub struct Records(Format);

enum Format {
    Oracle(Oracle),
    Twitter(Twitter),
    Csv(Box<Columns>),
}

impl Records {
    /// Opens a file.
    pub(super) fn open(file: &TraceFile, wish: &Wish) -> Result<Self, TraceError> {
        Self::of_input(input::open(&file.path, wish)?, file.format)
    }

    /// The requests in these bytes, which may be compressed.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn of(
        bytes: impl std::io::Read + Send + 'static,
        format: TraceFormat,
    ) -> Result<Self, TraceError> {
        Self::of_input(input::of(bytes, false, &Wish::Always)?, format)
    }

    fn of_input(input: Input, format: TraceFormat) -> Result<Self, TraceError> {
        Ok(Self(match format {
            TraceFormat::Oracle => Format::Oracle(Oracle::new(input)),
            TraceFormat::Twitter => Format::Twitter(Twitter::new(input)),
            TraceFormat::Csv => Format::Csv(Box::new(Columns::new(input)?)),
        }))
    }

    /// The columns that are not used.
    #[must_use]
    pub fn unused_columns(&self) -> &[String] {
        match &self.0 {
            Format::Csv(columns) => columns.unused(),
            Format::Oracle(_) | Format::Twitter(_) => &[],
        }
    }

    /// Reads the next request; `false`: there is none.
    ///
    /// # Errors
    /// [`TraceError`]. Nothing can be read after one.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, TraceError> {
        match &mut self.0 {
            Format::Oracle(oracle) => oracle.read(record),
            Format::Twitter(twitter) => twitter.read(record),
            Format::Csv(columns) => columns.read(record),
        }
    }
}
