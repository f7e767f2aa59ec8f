//! The few options of the commands. Written by hand because compiling an argument parser would take
//! longer than everything else here.

/// Arguments not yet taken.
#[derive(Debug)]
pub(crate) struct Options(Vec<String>);

impl Options {
    pub(crate) fn new(arguments: Vec<String>) -> Self {
        Self(arguments)
    }

    /// Whether `name` was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|argument| argument != name);
        self.0.len() != before
    }

    /// The value of `name VALUE` or `name=VALUE`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let inline = |argument: &String| {
            argument.strip_prefix(name)?.strip_prefix('=').map(|value| value.to_owned())
        };
        if let Some((at, value)) =
            self.0.iter().enumerate().find_map(|(at, argument)| Some((at, inline(argument)?)))
        {
            self.0.remove(at);
            return Ok(Some(value));
        }
        let Some(at) = self.0.iter().position(|argument| argument == name) else {
            return Ok(None);
        };
        self.0.remove(at);
        if at == self.0.len() {
            return Err(format!("{name} needs a value"));
        }
        Ok(Some(self.0.remove(at)))
    }

    /// The value of `name`, as a whole number above zero.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u32>, String> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        match value.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(format!("{name} takes a whole number above 0, not {value:?}")),
        }
    }

    /// The first argument that is not an option. Take it after the options' values.
    pub(crate) fn word(&mut self) -> Option<String> {
        let at = self.0.iter().position(|argument| !argument.starts_with('-'))?;
        Some(self.0.remove(at))
    }

    /// An error if anything is left.
    pub(crate) fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(left) => Err(format!("unknown argument {left:?}; see `cargo xtask help`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        Options::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn takes_flags_values_and_words_in_any_order() {
        let mut taken = options("7 --seconds 3 --fast --origin=postgres");
        assert!(taken.flag("--fast"));
        assert_eq!(taken.number("--seconds"), Ok(Some(3)));
        assert_eq!(taken.value("--origin"), Ok(Some("postgres".to_owned())));
        assert_eq!(taken.word().as_deref(), Some("7"));
        assert_eq!(taken.end(), Ok(()));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(options("--fsat").end().is_err());
        assert!(options("--seconds").number("--seconds").is_err());
        assert!(options("--seconds 0").number("--seconds").is_err());
    }
}
