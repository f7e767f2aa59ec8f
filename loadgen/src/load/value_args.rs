//! `--value-bytes` and what belongs to it: size and form of the values that are written.

use clap::Args;
use standin_config::{Report, Section};

use super::LoadError;
use super::words::{Unquoted, parsed, parsed_as, word};
use crate::request::ValueSizes;
use crate::value::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};
use crate::value_form::{ValueForm, ValueKind};
use crate::value_template::ValueTemplate;

/// Size and form of values.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ValueArgs {
    /// Size of the values written in bytes: a number, a range such as 64-4096, lognormal:MEDIAN:SIGMA, or quantiles such as
    /// 0%=50,50%=230,90%=1000,100%=10000; 100 by default. With --trace, its sizes are clamped to this range; by default
    /// they stay as they are, but at least 32 with --check and 54 in JSON, and at most what a cluster takes.
    #[arg(long, value_name = "BYTES")]
    pub value_bytes: Option<ValueSizes>,
    /// Kind of the values written: text, json or binary (random bytes); text by default.
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "value_template")]
    pub value_kind: Option<ValueKind>,
    /// Text of the values written, with places for what differs: {stamp}, by which --check judges a value, {n} (the number of
    /// the key), {writer} and {sequence} (those of run and write), {random:16} (letters), and {random} (as many as
    /// --value-bytes asks for). {n:8} has eight digits at least, {{n} is the text {n}, and
    /// {brace} a brace. An example is
    /// '{"id": {n}, "stamp": "{stamp}", "note": "{random:16}"}'.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Unquoted::<ValueTemplate>::new())]
    pub value_template: Option<ValueTemplate>,
    /// Percentage of a value, beside what it says of itself, that a compressor finds to repeat itself; by default 0 for binary
    /// values and the random letters of a template, and 100 for others.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub compressible: Option<u8>,
}

impl ValueArgs {
    /// These options, and for each that is not given that of `below`.
    pub(super) fn over(self, mut below: Self) -> Self {
        if self.value_kind.is_some() {
            below.value_template = None;
        }
        if let Some(template) = &self.value_template {
            below.value_kind = None;
            // What a scenario says of sizes is not meant for it.
            below.value_bytes = below.value_bytes.filter(|_| template.fills());
            below.compressible = below.compressible.filter(|_| template.has_random());
        }
        Self {
            value_bytes: self.value_bytes.or(below.value_bytes),
            value_kind: self.value_kind.or(below.value_kind),
            value_template: self.value_template.or(below.value_template),
            compressible: self.compressible.or(below.compressible),
        }
    }

    /// Reads `[values]`.
    pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        // Its mistakes say where in the text they are, which may be long.
        let example = r#"{"id": {n}, "stamp": "{stamp}"}"#;
        let value_template = parsed_as(section, "template", example, report, |_, error| error);
        if value_template.is_some() {
            section.misplaced("kind", "is instead of a template; remove it, or `template`", report);
        }
        Self {
            value_kind: word(section, "kind", report),
            value_template,
            compressible: section.whole_or_absent("compressible", 0..=100, "50", report).good(),
            value_bytes: sizes(section, report),
        }
    }

    /// Whether any is given.
    pub(super) fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// The form that they ask for.
    pub(super) fn form(&self) -> ValueForm {
        match &self.value_template {
            Some(template) => ValueForm::of_template(template.clone(), self.compressible),
            None => ValueForm::new(self.value_kind.unwrap_or_default(), self.compressible),
        }
    }

    /// The sizes that they ask for, or else those of a template that has a size of its own, or `usual`.
    pub(super) fn sizes(&self, usual: ValueSizes) -> ValueSizes {
        let own = self.value_template.as_ref().filter(|template| !template.fills());
        let own = own.map(|template| {
            let (least, most) = template.bytes();
            ValueSizes::between(least, most)
        });
        self.value_bytes.or(own).unwrap_or(usual)
    }

    /// What can't be said of one option alone. `needs_stamp` is the option for which a value must say what it is.
    pub(super) fn check(&self, needs_stamp: Option<&'static str>) -> Result<(), LoadError> {
        let Some(template) = &self.value_template else { return Ok(()) };
        let wrong = |text: String| Err(LoadError::Options(text));
        if let Some(option) = needs_stamp.filter(|_| !template.has_stamp()) {
            return wrong(format!(
                "{option} needs values that say which they are: add {{stamp}} to --value-template, or leave {option} away"
            ));
        }
        if self.value_bytes.is_some() && !template.fills() {
            return wrong(
                "--value-template has no {random}, which would fill values to the size of --value-bytes: add it, or leave \
                 --value-bytes away"
                    .to_owned(),
            );
        }
        if self.compressible.is_some() && !template.has_random() {
            return wrong(
                "--compressible is about the {random} letters of --value-template, which has none: add them, or leave \
                 --compressible away"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The sizes in `[values]`.
fn sizes(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<ValueSizes> {
    let range = u64::from(VALUE_BYTES_MIN)..=u64::from(VALUE_BYTES_MAX);
    let fixed = section.size_or_absent("size", range.clone(), "100B", report).good();
    if let Some(bytes) = fixed {
        let why = "is for values of several sizes; remove it, or `size`";
        section.misplaced("size_min", why, report);
        section.misplaced("size_max", why, report);
        section.misplaced("sizes", why, report);
        return Some(ValueSizes::fixed(bytes));
    }
    let sizes = parsed(section, "sizes", "lognormal:230:1.2", report);
    if sizes.is_some() {
        let why = "is for sizes that are all alike; remove it, or `sizes`";
        section.misplaced("size_min", why, report);
        section.misplaced("size_max", why, report);
        return sizes;
    }
    let min = section.size_or_absent("size_min", range.clone(), "64B", report).optional();
    let max = section.size_or_absent("size_max", range, "4KiB", report).optional();
    // A wrong one was reported.
    let (min, max) = (min?, max?);
    match (min, max) {
        (Some(min), Some(max)) if min.value <= max.value => {
            return Some(ValueSizes::between(min.value, max.value));
        }
        (Some(_), Some(max)) => {
            let key = section.key("size_max");
            report.mistake(max.at, &key, "is below `size_min`; write a larger one");
        }
        (Some(_), None) => section.missing("size_max", "\"4KiB\"", report),
        (None, Some(_)) => section.missing("size_min", "\"64B\"", report),
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use standin_testkit::fake_cache::{Planted, Speaks};
    use standin_testkit::fake_server::FakeServer;

    use clap::Parser;

    use super::super::options::tests::parse;
    use super::super::{Load, run};
    use super::*;
    use crate::live::Live;

    /// A command line.
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        _values: ValueArgs,
    }

    const STAMPED: [&str; 2] = ["--value-template", r#"{"id": {n}, "stamp": "{stamp}"}"#];

    fn resolve(parts: &[&[&str]]) -> Result<Load, String> {
        let args = parse(&parts.concat()).expect("right one by one");
        args.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn a_template_has_its_own_size_or_fills_to_the_one_asked_for() {
        let own = resolve(&[&STAMPED, &["--preset", "ycsb-a", "--fill", "--check"]]).unwrap();
        assert_eq!(own.sizes, ValueSizes::between(54, 72), "not that of the preset");
        let filled = ["--value-template", "{stamp}{n}{random}"];
        assert_eq!(resolve(&[&filled]).unwrap().sizes, ValueSizes::fixed(100));
        let sized = resolve(&[&filled, &["--value-bytes", "60-70", "--compressible", "40"]]);
        let sized = sized.unwrap();
        assert_eq!(sized.sizes, ValueSizes::between(60, 70));
        assert_eq!(sized.form.compressible_percent, 40);
        // Without a stamp nothing needs room for one, and nothing is judged.
        let plain = resolve(&[&["--value-template", "hello {n:3}"]]).unwrap();
        assert_eq!(plain.sizes, ValueSizes::between(9, 25));
    }

    #[test]
    fn what_does_not_fit_a_template_is_refused() {
        let plain = ["--value-template", "x{n}"];
        for (parts, said) in [
            (&[&plain[..], &["--fill", "--check"]][..], "--check needs"),
            (&[&plain, &["--cas", "1"]], "--cas needs"),
            (&[&plain, &["--preset", "twitter-52"]], "--cas needs"),
            (&[&STAMPED, &["--value-bytes", "90"]], "has no {random}"),
            (&[&STAMPED, &["--compressible", "5"]], "--compressible is about"),
            (&[&["--value-template", "{stamp}{n}{random}", "--value-bytes", "50"]], "51 bytes"),
            (&[&STAMPED, &["--existing-rows"]], "--value-template"),
        ] {
            let error = resolve(parts).unwrap_err();
            assert!(error.contains(said), "{parts:?}: {error}");
        }
        assert!(parse(&[&STAMPED[..], &["--value-kind", "json"]].concat()).is_none());
        assert!(parse(&["--value-template", "{key}"]).is_none());
        let long = format!("{{key}}{}", "s3cret ".repeat(5_000));
        let said =
            Line::try_parse_from(["load", "--value-template", &long]).unwrap_err().to_string();
        assert!(said.contains("--value-template: byte 1") && said.len() < 400, "{said}");
    }

    #[test]
    fn a_template_and_a_kind_replace_each_other() {
        let below = || parse(&["--value-kind", "json", "--value-bytes", "90"]).unwrap();
        let over = parse(&STAMPED).unwrap().over(below()).resolve().unwrap();
        assert_eq!(over.sizes, ValueSizes::between(54, 72));
        assert!(over.form.template.is_some());
        let kind = parse(&["--value-kind", "binary"]).unwrap().over(parse(&STAMPED).unwrap());
        let form = kind.resolve().unwrap().form;
        assert_eq!((form.kind, form.template), (ValueKind::Binary, None));
    }

    /// Alone and in front of a database, as an application fills it.
    #[test]
    fn a_run_judges_the_values_of_a_template_and_names_it() {
        let (correct, torn) = (Planted::Nothing, Planted::TornValue(400));
        for (planted, more) in
            [(correct, &[][..]), (correct, &["--database", "sqlite"]), (torn, &[])]
        {
            let server = FakeServer::new(Speaks::Text, planted);
            let url = server.url();
            let fixed = ["--target", &url, "--workers", "1", "--seconds", "1", "--keys", "50"];
            // With several requests under way, an application may put a row into its cache that is old by then, which is stale.
            let (pacing, least) = match more.is_empty() {
                true => (["--rate", "2000"], 500),
                // As fast as a busy machine's disk writes rows.
                false => (["--closed", "1x1"], 20),
            };
            let checked = ["--reads", "70", "--fill", "--check"];
            let template = ["--value-template", "{n:5}|{stamp}|{sequence}|{random}"];
            let load = resolve(&[&fixed, &pacing, &checked, &template, more]).unwrap();
            let document = run(&load, &Arc::new(Live::new(load.workers))).unwrap();
            let counts = &document.total.counts;
            assert!(counts.checked > least, "{counts:?}");
            let wrong = u64::from(planted != Planted::Nothing);
            assert_eq!(counts.wrong, wrong, "{more:?}");
            assert_eq!(counts.stale, 0, "{more:?}");
            assert_eq!(document.is_good, wrong == 0, "{:?}", document.warnings);
            let values = &document.scenario["values"];
            assert_eq!((&values["template"], &values["kind"]), (&template[1].into(), &().into()));
        }
    }

    #[test]
    fn a_template_has_the_sizes_of_a_trace_only_if_it_fills() {
        let trace = ["--trace", "t", "--format", "oracle"];
        assert_eq!(resolve(&[&trace, &STAMPED]).unwrap().sizes, ValueSizes::between(54, 72));
        let filled = resolve(&[&trace, &["--value-template", "{stamp}{n}{random}"]]).unwrap();
        assert_eq!(filled.sizes, ValueSizes::between(51, VALUE_BYTES_MAX));
    }
}
