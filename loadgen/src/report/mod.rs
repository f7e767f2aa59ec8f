//! Reports for people and programs: figures, tables, plots, files.
//!
//! ```text
//! Recording ─► figures.rs ─┬─► table.rs            (terminal)
//!                          ├─► plots.rs ─► html.rs (one file, nothing loaded from elsewhere)
//!                          └─► document.rs         (the JSON of `standin load`, read and written)
//!                                 ├─► merge.rs        (several runs as one)
//!                                 └─► csv.rs, percentile_file.rs, run_page.rs
//! all of them ─► files.rs (as many as there is room for)
//! ```

pub mod csv;
pub mod document;
pub mod events;
pub mod expectations;
pub mod figures;
pub(crate) mod files;
pub mod html;
pub mod machine;
pub mod merge;
pub mod percentile_file;
pub mod plots;
pub mod run_page;
pub mod table;

pub use figures::{CurvePoint, Figures, LatencyUs, Mark, OperationFigures, PhaseFigures};
pub use files::FilesError;
pub use machine::Machine;
