//! Values of options, and of a scenario that are texts of the command line.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::TypedValueParser;
use standin_config::{Report, Section};

/// A share of all.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write a number of 0 to 100".to_owned()),
    }
}

/// A text that is read as on the command line. The mistake shows it.
pub(super) fn parsed<T: FromStr<Err: Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    parsed_as(section, key, example, report, |text, error| format!("{text:?}: {error}"))
}

/// A text that is read as on the command line, with the mistake that `mistake` makes of it and the error.
pub(super) fn parsed_as<T: FromStr<Err: Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    report: &mut Report<'_>,
    mistake: impl Fn(&str, String) -> String,
) -> Option<T> {
    // An absent one leaves the default, and an empty one was reported.
    let text = section.text(key, example, report).optional()??;
    match text.value.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            report.mistake(text.at, &section.key(key), mistake(text.value, error.to_string()));
            None
        }
    }
}

/// A word that is one of the command line's.
pub(super) fn word<T: ValueEnum + Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<T> {
    let variants = T::value_variants().iter();
    let words: Vec<_> = variants.filter_map(|one| Some((one.to_possible_value()?, *one))).collect();
    let choices: Vec<(&str, T)> = words.iter().map(|(word, one)| (word.get_name(), *one)).collect();
    section.choice(key, &choices, report).good()
}

/// Reads an option. The library's own message about a wrong value would have all of it, which may be a password, or long.
#[derive(Debug)]
pub(super) struct Unquoted<T>(PhantomData<fn() -> T>);

impl<T> Clone for Unquoted<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> Unquoted<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> TypedValueParser for Unquoted<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        option: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let name = option.and_then(clap::Arg::get_long).unwrap_or_default();
            let text = format!("--{name}: {error}\n");
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}
