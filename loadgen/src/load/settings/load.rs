//! A load, with everything that is to be known before its target is found.

use std::path::PathBuf;
use std::time::Duration;

use super::super::access::AccessArgs;
use super::super::database_args::{DatabaseArgs, DatabaseName};
use super::super::objective::Find;
use super::super::options::Closed;
use super::super::presets::Preset;
use super::super::rows::args::ExistingRows;
use super::super::{Expect, LoadError};
use super::trace::Replay;
use crate::drive::Place;
use crate::faults::script::Script;
use crate::key_names::{KeyType, Template};
use crate::observer::usage::Chosen;
use crate::popularity::Popularity;
use crate::recorder::histogram_bytes_max;
use crate::request::{KeyCounts, ValueSizes};
use crate::schedule::phases::Phases;
use crate::schedule::{Arrivals, Rates};
use crate::targets::address::TargetUrl;
use crate::trace::READ_AHEAD_BYTES_MAX;
use crate::value_form::ValueForm;
use crate::workload::{Cold, Others};

/// Bytes that all load threads have for histograms, and for what of a trace is read ahead, at most.
const THREAD_BYTES_MAX: u64 = 4 << 30;

/// See the head of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The cluster file, if there is no URL.
    pub config: PathBuf,
    /// A keyspace of it; `None`: the first one.
    pub keyspace: Option<String>,
    /// The URL of a target.
    pub target: Option<TargetUrl>,
    /// Its TLS and login.
    pub access: AccessArgs,
    /// The database that this program asks itself.
    pub database: DatabaseArgs,
    /// The rate, without a closed loop.
    pub rates: Rates,
    /// Its phases as they were written.
    pub phases: Option<Phases>,
    /// Their distribution.
    pub arrivals: Arrivals,
    /// A closed loop.
    pub closed: Option<Closed>,
    /// A search for the highest rate.
    pub find: Option<Find>,
    /// The time for which requests are sent; `None`: until the trace ends.
    pub duration: Option<Duration>,
    /// The time before, of which nothing is counted.
    pub warm_up: Option<Duration>,
    /// Number of keys, without a trace. With existing rows it is known when they are.
    pub keys: u32,
    /// Rows that are read and never written, instead of keys of the load's own.
    pub rows: Option<ExistingRows>,
    /// Their type; `None`: that of the keyspace.
    pub key_type: Option<KeyType>,
    /// Their names, if they are texts.
    pub template: Template,
    /// Number of the first one.
    pub first_key: u64,
    /// How requests are spread over them.
    pub popularity: Popularity,
    /// The workload of YCSB that the options below began from.
    pub preset: Option<Preset>,
    /// Share of reads, or of a trace's reads that stay reads, 0 to 100.
    pub reads_percent: f64,
    /// Whether a write follows a read of its key.
    pub reads_first: bool,
    /// Requests that are neither reads nor plain writes.
    pub others: Others,
    /// Reads that find nothing.
    pub cold: Cold,
    /// Sizes of the values written, or the bounds of those of the trace.
    pub sizes: ValueSizes,
    /// Their form.
    pub form: ValueForm,
    /// Load threads.
    pub workers: u32,
    /// Their place among those of all machines of the run.
    pub place: Place,
    /// Seed of keys, sizes and arrivals.
    pub seed: u64,
    /// The file of the results.
    pub json: Option<PathBuf>,
    /// The file of the HdrHistogram log.
    pub hdr: Option<PathBuf>,
    /// The beginning of the names of the files of percentiles.
    pub hgrm: Option<PathBuf>,
    /// The file of the timeline.
    pub csv: Option<PathBuf>,
    /// The page.
    pub html: Option<PathBuf>,
    /// The target's processes on this machine.
    pub processes: Chosen,
    /// Length of an interval of the timeline.
    pub interval: Duration,
    /// A name of the run.
    pub label: Option<String>,
    /// The folder for the files of the scenario's processes; `None`: a temporary one.
    pub folder: Option<PathBuf>,
    /// The scenario's processes and faults.
    pub script: Script,
    /// What the run must keep.
    pub expect: Vec<Expect>,
    /// Whether every key is written once before.
    pub fill: bool,
    /// Whether reads that find nothing are followed by writes.
    pub fill_misses: bool,
    /// Whether reads are judged.
    pub check: bool,
    /// Whether reads that find nothing are judged.
    pub lossless: bool,
    /// A trace.
    pub trace: Option<Replay>,
    /// The most connections that it may make; only an agent has such a bound.
    pub connections_max: Option<u64>,
}

impl Load {
    /// Whether requests are sent at the times of a trace.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.speed.is_some())
    }

    /// Whether reads are judged by what this process alone has written.
    #[must_use]
    pub fn owns_keys(&self) -> bool {
        self.check && self.rows.is_none()
    }

    /// Whether values have sizes of their own, which no size that is asked for changes.
    #[must_use]
    pub fn has_own_sizes(&self) -> bool {
        self.form.template.as_ref().is_some_and(|template| !template.fills())
    }

    /// The numbers of keys of each kind, without a trace.
    #[must_use]
    pub fn counts(&self) -> KeyCounts {
        let Others { cas_keys, counters, .. } = self.others;
        KeyCounts { plain: self.keys, cas: cas_keys, counters }
    }

    /// Whether something of the run goes into its folder.
    pub(in super::super) fn needs_folder(&self) -> bool {
        let has_rows = self.database.database == Some(DatabaseName::Sqlite);
        self.folder.is_some() || has_rows || self.script != Script::default()
    }

    /// Each load thread has histograms of its own, of each phase, and reads a trace ahead.
    ///
    /// # Errors
    /// [`LoadError::Options`], if that is too much.
    pub(in super::super) fn check_memory(&self) -> Result<(), LoadError> {
        let (workers, phases) = (self.workers, self.rates.spans().len());
        let ahead = self.trace.as_ref().map_or(0, |_| READ_AHEAD_BYTES_MAX as u64);
        let bytes = (histogram_bytes_max(phases) + ahead).saturating_mul(workers.into());
        if bytes <= THREAD_BYTES_MAX {
            return Ok(());
        }
        let trace = if self.trace.is_some() { " and a trace" } else { "" };
        Err(LoadError::Options(format!(
            "{workers} load threads with {phases} phases{trace} can take {} MiB, which is more than {}: lower --workers, \
             or use fewer phases",
            bytes >> 20,
            THREAD_BYTES_MAX >> 20
        )))
    }
}
