//! Values of options, and of a scenario that are texts of the command line.

use std::fmt::Display;
use std::str::FromStr;

use clap::ValueEnum;
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
